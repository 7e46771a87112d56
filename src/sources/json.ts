import { ExactInteger, isJsonObject, type JsonObject } from '../json/json.js';
import type { Numeral } from '../ingest/schema.js';

/**
 * Readers of payloads whose form others decide. What is missing, null or of another kind counts as
 * absent: an odd field must not keep the rest from being told.
 */

const noMembers: JsonObject = {};
const surrogate = /\p{Surrogate}/gu;

/** Empty where it is no object. */
export function asObject(value: unknown): JsonObject {
  return isJsonObject(value) ? value : noMembers;
}

/** Empty where it is no array. */
export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Text that is not blank, without halves of surrogate pairs, for which Klaviyo would refuse its batch. */
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

/** An id that some write as text and some as a number, as text. */
export function asId(value: unknown): string | undefined {
  if (value instanceof ExactInteger) return value.digits;
  return typeof value === 'number' ? String(value) : asText(value);
}

/** Without what is undefined. */
export function compact<T extends JsonObject>(object: T): T {
  const given = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as T;
}
