import { ExactInteger, isJsonObject, type JsonObject } from '../json/json.js';
import type { Numeral } from '../ingest/schema.js';

/**
 * Readers of JSON values whose form another system decides. A value that is missing, null or of another
 * type counts as absent, so that one odd field does not cost the rest of the payload.
 */

const noMembers: JsonObject = {};
const surrogate = /\p{Surrogate}/gu;

/** The value as an object. Empty if it is not an object. */
export function asObject(value: unknown): JsonObject {
  return isJsonObject(value) ? value : noMembers;
}

/** The value as an array. Empty if it is not an array. */
export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Text that is not blank. Lone surrogates are replaced, because Klaviyo rejects a whole batch for one. */
export function asText(value: unknown): string | undefined {
  return typeof value === 'string' && /\S/.test(value)
    ? value.replace(surrogate, '\ufffd')
    : undefined;
}

export function asNumeral(value: unknown): Numeral | undefined {
  return typeof value === 'number' || value instanceof ExactInteger ? value : undefined;
}

/** A whole number of any size. */
export function asBigInt(value: unknown): bigint | undefined {
  if (value instanceof ExactInteger) return BigInt(value.digits);
  return Number.isSafeInteger(value) ? BigInt(Number(value)) : undefined;
}

/** An id as text. Some systems write ids as text and some as numbers. */
export function asId(value: unknown): string | undefined {
  if (value instanceof ExactInteger) return value.digits;
  return typeof value === 'number' ? String(value) : asText(value);
}

/** Removes the members that are undefined. */
export function compact<T extends JsonObject>(object: T): T {
  const given = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as T;
}

/** The objects of an array. Empty if the value is not an array. */
export function asObjects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

/** The texts that are present, each once, in the order in which they come. */
export function distinct(texts: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(texts.filter((text) => text !== undefined))];
}
