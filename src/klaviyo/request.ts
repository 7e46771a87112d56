import type { Lane } from '../model/lane.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';

/**
 * The bulk endpoints' bodies, put together from stored bytes: payloads are neither parsed nor
 * serialised again, so a body's size is known before it is made.
 */

/** `POST` here (Klaviyo's OpenAPI: bulk_create_events, bulk_import_profiles). */
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

/** Bytes of a body beside its payloads and the commas between them. */
export function overheadBytes(lane: Lane): number {
  const { prefix, suffix } = wrappers[lane];
  return prefix.length + suffix.length;
}

/** The body; its length is overheadBytes + the payloads' bytes + one comma between each two. */
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

/** Members that are merged member by member, and those of them that are, too; every other is replaced as a whole. */
type Nested = ReadonlyMap<string, Nested>;
const flat: Nested = new Map();
const nestedMembers: Nested = new Map([
  [
    'attributes',
    new Map([
      ['location', flat],
      ['properties', flat],
    ]),
  ],
]);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * Merges payloads of one profile, oldest first: the newer wins, field by field. A null never takes a
 * value away, because it would not at Klaviyo either: bulk import ignores nulls (Klaviyo's OpenAPI).
 * Names keep the order in which they first appeared; integers of any size keep their digits.
 * Throws where a payload is no JSON object, which is our own fault.
 */
export function mergeProfiles(payloads: readonly Uint8Array[]): Uint8Array {
  const merged: Members = new Map();
  for (const payload of payloads) mergeInto(merged, toProfile(payload), nestedMembers);
  return encoder.encode(stringifyJson(toObject(merged)));
}

function toProfile(payload: Uint8Array): JsonObject {
  const parsed = parseJson(decoder.decode(payload));
  if (parsed.ok && isJsonObject(parsed.value)) return parsed.value;
  throw new Error('a stored profile is not a JSON object');
}

/** An object under way. A Map, so that a name such as __proto__ is a name like any other. */
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
