import { hash } from 'node:crypto';
import { limits } from '../../ingest/limits.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asId, asNumeral, asText } from '../json.js';
import { readMoney, type LocatedValue, type MoneyReading } from '../money.js';
import type { SegmentCall } from './calls.js';
import type { SegmentSettings } from './settings.js';
import { foldSpelling, type FieldFinder } from './spellings.js';

/** Reads single fields of an event from a call: its name, its value, its order id and its unique id. */

export type EventName = {
  /** Undefined if the call has no name. */
  readonly name: string | undefined;
  readonly warnings: readonly SourceWarning[];
  /** The full name as a property, if it was too long. */
  readonly kept: JsonObject;
};

/** Reads the name of the metric of a call. Klaviyo accepts at most 127 characters. */
export function readEventName({ type, fields }: SegmentCall): EventName {
  if (type === 'track')
    return shortenEventName(asText(fields.event), { before: '', after: '' }, '/event');
  const what = type === 'page' ? 'Page' : 'Screen';
  const name = asText(fields.name);
  if (name === undefined) return { name: `Loaded a ${what}`, warnings: [], kept: {} };
  return shortenEventName(name, { before: 'Viewed ', after: ` ${what}` }, '/name');
}

function shortenEventName(
  text: string | undefined,
  { before, after }: { readonly before: string; readonly after: string },
  pointer: string,
): EventName {
  if (text === undefined) return { name: undefined, warnings: [], kept: {} };
  const whole = before + text + after;
  if (whole.length <= limits.metricNameChars) return { name: whole, warnings: [], kept: {} };
  const room = limits.metricNameChars - before.length - after.length - 1;
  // Does not split a surrogate pair.
  const cut = text.slice(0, room).replace(/[\ud800-\udbff]$/, '');
  const detail = `is longer than a name of Klaviyo may be (${limits.metricNameChars} characters with what is added): it was shortened, and the whole is kept as the property event_name_full`;
  return {
    name: `${before}${cut.trimEnd()}…${after}`,
    warnings: [{ code: 'name_shortened', pointer, detail }],
    kept: { event_name_full: whole },
  };
}

/** Returns true for the name of a completed order in any spelling: `Order Completed`, `completed_order`. */
export function isCompletedOrder(event: string | undefined): boolean {
  return event !== undefined && /^(?:ordercompleted|completedorder)$/.test(foldSpelling(event));
}

/**
 * Reads the value of an event from the property that SEGMENT_VALUE_PROPERTIES names, else from `revenue`,
 * and on a completed order else from `total`. `total` and `value` of other events may not be money, such
 * as the number of search results.
 */
export function readRevenue(
  event: string | undefined,
  fields: FieldFinder,
  { SEGMENT_VALUE_PROPERTIES: chosen }: Pick<SegmentSettings, 'SEGMENT_VALUE_PROPERTIES'>,
): MoneyReading {
  const own = chosen.get(foldSpelling(event ?? '')) ?? chosen.get('*');
  const stands = isCompletedOrder(event) ? ['total'] : [];
  const amount = fields.find(...(own === undefined ? [] : [own]), 'revenue', ...stands);
  return readMoney(amount, fields.find('currency'));
}

export type OrderId = {
  /** The id as it was given. */
  readonly id: unknown;
  /** Identifies a completed order in unique ids: the id of the order, else that of its checkout. */
  readonly key: string | undefined;
};

export function readOrderId(event: string | undefined, fields: FieldFinder): OrderId {
  const names = isCompletedOrder(event) ? ['orderId', 'order_id', 'id'] : ['orderId', 'order_id'];
  const id = names.map((name) => readIdValue(fields.find(name))).find((each) => each !== undefined);
  if (!isCompletedOrder(event)) return { id, key: undefined };
  const checkout = asId(fields.find('checkout_id').value);
  const ofCheckout = checkout === undefined ? undefined : `checkout ${checkout}`;
  return { id, key: asId(id) ?? ofCheckout };
}

function readIdValue({ value }: LocatedValue): unknown {
  return asText(value) ?? asNumeral(value);
}

/** Replaces an id that is too long by its hash, which is the same when the call is repeated. */
export function shortenInsertId(id: string | undefined): string | undefined {
  if (id === undefined || id.length <= limits.uniqueIdChars) return id;
  return hash('sha256', id, 'base64url');
}
