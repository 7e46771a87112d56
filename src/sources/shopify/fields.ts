import { ExactInteger, isJsonObject, type JsonObject } from '../../json.js';
import { asText } from '../json.js';

/**
 * Readers of a payload's fields. Any of them may be missing, null (personal data an app may not see)
 * or of another type than Shopify documents; then it counts as absent.
 */

export function toList(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

/** An id as text: of any length, since those in Shopify's documentation exceed 2^53 already. */
export function toId(value: unknown): string | undefined {
  if (value instanceof ExactInteger) return value.digits;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : undefined;
  return asText(value);
}

const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[-+]\d\d:\d\d)$/;

/** ISO 8601 with an offset, such as 2026-01-01T10:00:00-05:00. */
export function toTime(value: unknown): string | undefined {
  if (typeof value !== 'string' || !timePattern.test(value)) return undefined;
  return Number.isNaN(Date.parse(value)) ? undefined : value;
}

/** Without the members there is nothing to say for. */
export function given(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, member]) => isGiven(member)));
}

function isGiven(member: unknown): boolean {
  if (Array.isArray(member)) return member.length > 0;
  return isJsonObject(member) ? Object.keys(member).length > 0 : member !== undefined;
}
