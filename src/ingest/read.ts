import { ExactInteger, isJsonObject, type JsonObject } from '../json.js';
import type { Numeral } from './schema.js';

/** Readers of JSON whose form nobody promises: what is not of the right kind counts as absent. */

/** Text with something in it. */
export function asText(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
}

export function asNumeral(value: unknown): Numeral | undefined {
  return typeof value === 'number' || value instanceof ExactInteger ? value : undefined;
}

/** An id that some write as text and some as a number, as text. */
export function asId(value: unknown): string | undefined {
  if (value instanceof ExactInteger) return value.digits;
  return typeof value === 'number' ? String(value) : asText(value);
}

const decimal = /^[-+]?\d{1,300}(?:\.\d{1,300})?$/;

/** A number, or text that is one and nothing else: `19.99`, not `$19.99`. */
export function asAmount(value: unknown): Numeral | undefined {
  if (typeof value !== 'string') return asNumeral(value);
  const text = value.trim();
  return decimal.test(text) ? Number(text) : undefined;
}

const nothing: JsonObject = {};

export function asObject(value: unknown): JsonObject {
  return isJsonObject(value) ? value : nothing;
}

/** Without what is undefined. */
export function compact<T extends JsonObject>(object: T): T {
  const given = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as T;
}
