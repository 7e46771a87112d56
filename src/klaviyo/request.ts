import type { Lane } from '../model/lane.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';

/**
 * The bodies of Klaviyo's bulk endpoints. A body is joined from stored bytes: payloads are neither parsed
 * nor serialised again, so the size of a body is known before it is made.
 */

/** The paths to POST to (Klaviyo's OpenAPI: bulk_create_events, bulk_import_profiles). */
export const bulkPath: Readonly<Record<Lane, string>> = {
  events: '/api/event-bulk-create-jobs',
  profiles: '/api/profile-bulk-import-jobs',
};

/** The member of `data.attributes` whose `data` list holds the payloads. */
export const listName: Readonly<Record<Lane, string>> = {
  events: 'events-bulk-create',
  profiles: 'profiles',
};

export const importJobType = 'profile-bulk-import-job';
const jobType: Readonly<Record<Lane, string>> = {
  events: 'event-bulk-create-job',
  profiles: importJobType,
};

type Wrapper = { readonly prefix: Buffer; readonly suffix: Buffer };

const wrappers: Readonly<Record<Lane, Wrapper>> = {
  events: toWrapper('events'),
  profiles: toWrapper('profiles'),
};

const comma = 0x2c;

function toWrapper(lane: Lane): Wrapper {
  const attributes = { [listName[lane]]: { data: [] } };
  const empty = JSON.stringify({ data: { type: jobType[lane], attributes } });
  const middle = empty.indexOf('[') + 1;
  return { prefix: Buffer.from(empty.slice(0, middle)), suffix: Buffer.from(empty.slice(middle)) };
}

/** Bytes of a body without its payloads and the commas between them. */
export function overheadBytes(lane: Lane): number {
  const { prefix, suffix } = wrappers[lane];
  return prefix.length + suffix.length;
}

/** The length of the body is `overheadBytes` + the bytes of the payloads + one comma between each two. */
export function toBody(lane: Lane, payloads: readonly Uint8Array[]): Buffer {
  const { prefix, suffix } = wrappers[lane];
  const commas = Math.max(0, payloads.length - 1);
  const size = payloads.reduce((sum, { length }) => sum + length, overheadBytes(lane) + commas);
  const body = Buffer.allocUnsafe(size);
  body.set(prefix, 0);
  let at = prefix.length;
  payloads.forEach((payload, index) => {
    if (index > 0) body[at++] = comma;
    body.set(payload, at);
    at += payload.length;
  });
  body.set(suffix, at);
  return body;
}

/** The objects that are merged member by member. Any other value is replaced as a whole. */
type Nested = ReadonlyMap<string, Nested>;
const withoutNested: Nested = new Map();
const nestedMembers: Nested = new Map([
  [
    'attributes',
    new Map([
      ['location', withoutNested],
      ['properties', withoutNested],
    ]),
  ],
]);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * Merges payloads of one person, oldest first. The newer value of a field wins. A null does not remove a
 * value, because Klaviyo's bulk import ignores nulls, too (Klaviyo's OpenAPI). Names keep the order in
 * which they first occurred, and integers of any size keep their digits. Throws if a payload is not a
 * JSON object, which can only be a bug of the relay.
 */
export function mergeProfiles(payloads: readonly Uint8Array[]): Uint8Array {
  const merged: Members = new Map();
  for (const payload of payloads) mergeInto(merged, parseProfile(payload), nestedMembers);
  return encoder.encode(stringifyJson(toObject(merged)));
}

function parseProfile(payload: Uint8Array): JsonObject {
  const parsed = parseJson(decoder.decode(payload));
  if (parsed.ok && isJsonObject(parsed.value)) return parsed.value;
  throw new Error('a stored profile is not a JSON object');
}

/** A merged object. It is a Map, so that `__proto__` is a name like any other. */
type Members = Map<string, unknown>;

function mergeInto(merged: Members, newer: JsonObject, nested: Nested): void {
  for (const [name, value] of Object.entries(newer)) {
    const known = merged.get(name);
    const below = nested.get(name);
    if (below !== undefined && isJsonObject(value) && isJsonObject(known)) {
      const members = known instanceof Map ? (known as Members) : new Map(Object.entries(known));
      mergeInto(members, value, below);
      merged.set(name, members);
    } else if (value !== null || known === undefined) merged.set(name, value);
  }
}

function toObject(members: Members): JsonObject {
  return Object.fromEntries(
    Array.from(members, ([name, value]) => [
      name,
      value instanceof Map ? toObject(value as Members) : value,
    ]),
  );
}
