import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';

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
