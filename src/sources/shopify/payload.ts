import type { SourceEntry, SourcePost, SourceWarning } from '../../ingest/source-entry.js';
import { ExactInteger, isJsonObject, type JsonObject } from '../../json/json.js';
import { asText } from '../json.js';
import { readTime } from '../time.js';

/** SHOPIFY_ORDER_VALUE. */
export type OrderValue = 'total' | 'subtotal_and_shipping';

/** SHOPIFY_PENDING_REFUNDS. */
export type PendingRefunds = 'wait' | 'count';

/** One webhook: what its headers name, its body as JSON, and the settings that its map reads. */
export type ShopifyRequest = {
  /** Such as `orders/create`. */
  readonly topic: string;
  /** Such as `ada.myshopify.com`. */
  readonly shop: string;
  readonly payload: JsonObject;
  readonly orderValue: OrderValue;
  readonly pendingRefunds: PendingRefunds;
};

/** The map of one topic. */
export type ShopifyMap = (request: ShopifyRequest) => Pick<SourcePost, 'entries' | 'skipped'>;

/**
 * Creates the unique id of an event of an object, the same for every webhook about it. It uses signed
 * content alone: headers are not signed, and the name of the shop is a header. Ids of Shopify are
 * unique across shops.
 */
export function createShopifyInsertId(
  id: unknown,
  ...parts: readonly unknown[]
): string | undefined {
  const ids = [id, ...parts].map(asShopifyId);
  return ids.includes(undefined) ? undefined : ['shopify', ...ids].join(':');
}

/**
 * Readers of fields. A field that is missing, null (personal data that the app may not see) or of
 * another type than Shopify documents counts as absent.
 */

/** An id as text, of any length: ids in Shopify's documentation exceed 2^53. */
export function asShopifyId(value: unknown): string | undefined {
  if (value instanceof ExactInteger) return value.digits;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : undefined;
  return asText(value);
}

/** A whole number, given as a number or as text. */
export function asInteger(value: unknown): number | undefined {
  const isDigits = typeof value === 'string' && /^-?\d{1,15}$/.test(value);
  const number = isDigits ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined;
}

/** Removes the members that are undefined, empty arrays or empty objects. */
export function dropEmpty(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, member]) => hasContent(member)));
}

function hasContent(member: unknown): boolean {
  if (Array.isArray(member)) return member.length > 0;
  return isJsonObject(member) ? Object.keys(member).length > 0 : member !== undefined;
}

/** The parts of an event that are read from some fields of a payload. */
export type Reading = {
  /** Fields of the event, such as `value`. */
  readonly fields: JsonObject;
  /** Values that could not be read, by Shopify's names. They become properties. */
  readonly unread: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

export const nothingRead: Reading = { fields: {}, unread: {}, warnings: [] };

export function joinReadings(...readings: readonly Reading[]): Reading {
  return {
    fields: Object.assign({}, ...readings.map(({ fields }) => fields)) as JsonObject,
    unread: Object.assign({}, ...readings.map(({ unread }) => unread)) as JsonObject,
    warnings: readings.flatMap(({ warnings }) => warnings),
  };
}

/** The member `warnings` of an entry. Absent if there are none. */
export function optionalWarnings({ warnings }: Reading): Pick<SourceEntry, 'warnings'> {
  return warnings.length === 0 ? {} : { warnings };
}

/**
 * Reads `event_time` from the first of these fields that holds a time. A field that is present and
 * unreadable gives a warning. `pointer`: the JSON Pointer of `object` in the request.
 */
export function readShopifyTime(
  object: JsonObject,
  names: readonly string[],
  pointer = '',
): Reading {
  let reading = nothingRead;
  for (const name of names) {
    const time = readTime(object[name]);
    if (time.kind === 'read') {
      const fields = { event_time: formatShopifyTime(object[name], time.at) };
      return joinReadings(reading, { ...nothingRead, fields });
    }
    if (time.kind === 'unreadable') {
      const detail = `${time.detail}; it stays as the property ${name}`;
      const warning = { code: 'unreadable_time', pointer: `${pointer}/${name}`, detail };
      reading = joinReadings(reading, {
        fields: {},
        unread: { [name]: object[name] },
        warnings: [warning],
      });
    }
  }
  return reading;
}

const isoPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[-+]\d\d:\d\d)$/;

/** Keeps a time in Shopify's own form, with the offset of the shop; any other form becomes UTC. */
function formatShopifyTime(value: unknown, at: number): string {
  return typeof value === 'string' && isoPattern.test(value) ? value : new Date(at).toISOString();
}
