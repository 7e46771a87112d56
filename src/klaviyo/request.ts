import type { Lane } from '../envelope.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json.js';

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

const jobType: Readonly<Record<Lane, string>> = {
  events: 'event-bulk-create-job',
  profiles: 'profile-bulk-import-job',
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

/** Attributes that are merged member by member; every other one is replaced as a whole. */
const nested = new Set(['location', 'properties']);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * Merges payloads of one profile, oldest first: the newer wins, field by field. A null never takes a
 * value away, because it would not at Klaviyo either: bulk import ignores nulls (Klaviyo's OpenAPI).
 * Names keep the order in which they first appeared; integers of any size keep their digits.
 * Throws where a payload is no JSON object, which is our own fault.
 */
export function mergeProfiles(payloads: readonly Uint8Array[]): Uint8Array {
  return encoder.encode(stringifyJson(payloads.map(toProfile).reduce(mergeTwo)));
}

function mergeTwo(before: JsonObject, after: JsonObject): JsonObject {
  const attributes = mergeMembers(toObject(before.attributes), toObject(after.attributes), nested);
  return { ...mergeMembers(before, after), attributes };
}

function toProfile(payload: Uint8Array): JsonObject {
  const parsed = parseJson(decoder.decode(payload));
  if (parsed.ok && isJsonObject(parsed.value)) return parsed.value;
  throw new Error('a stored profile is not a JSON object');
}

const toObject = (value: unknown): JsonObject => (isJsonObject(value) ? value : {});

function mergeMembers(
  before: JsonObject,
  after: JsonObject,
  deeper?: ReadonlySet<string>,
): JsonObject {
  // A Map, and fromEntries at the end, so that a name such as __proto__ is a name like any other.
  const merged = new Map(Object.entries(before));
  for (const [name, value] of Object.entries(after)) {
    const known = merged.get(name);
    if (deeper?.has(name) && isJsonObject(known) && isJsonObject(value)) {
      merged.set(name, mergeMembers(known, value));
    } else if (value !== null || known === undefined) merged.set(name, value);
  }
  return Object.fromEntries(merged);
}
