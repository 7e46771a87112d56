import { ExactInteger, isJsonObject, type JsonObject } from '../../json/json.js';
import { asText } from '../json.js';

/**
 * Readers of a payload's fields. Any of them may be missing, null (personal data an app may not see)
 * or of another type than Shopify documents; then it counts as absent.
 */

export function asObjects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

/** An id as text: of any length, since those in Shopify's documentation exceed 2^53 already. */
export function asShopifyId(value: unknown): string | undefined {
  if (value instanceof ExactInteger) return value.digits;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : undefined;
  return asText(value);
}

/** A whole number, also as text. */
export function asInteger(value: unknown): number | undefined {
  const isDigits = typeof value === 'string' && /^-?\d{1,15}$/.test(value);
  const number = isDigits ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined;
}

/** Without the members that have no value. */
export function dropEmpty(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, member]) => isGiven(member)));
}

function isGiven(member: unknown): boolean {
  if (Array.isArray(member)) return member.length > 0;
  return isJsonObject(member) ? Object.keys(member).length > 0 : member !== undefined;
}
