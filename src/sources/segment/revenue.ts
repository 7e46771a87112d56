import { hash } from 'node:crypto';
import { limits } from '../../ingest/limits.js';
import { asId, asNumeral, asText } from '../json.js';
import { readMoney, type MoneyReading, type LocatedValue } from '../money.js';
import { foldSpelling, type FieldFinder } from './fields.js';
import type { SegmentSettings } from './settings.js';

/** What Segment and RudderStack call a completed order, in any spelling: `Order Completed`, `completed_order`. */
export function isCompletedOrder(event: string | undefined): boolean {
  return event !== undefined && /^(?:ordercompleted|completedorder)$/.test(foldSpelling(event));
}

/**
 * What an event is worth: `revenue`, or what SEGMENT_VALUE_PROPERTIES names; `total` stands in for it
 * on a completed order alone. `total` and `value` of other events are no money, such as the number of
 * hits of a search.
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
  /** As it was given. */
  readonly id: unknown;
  /** Of a completed order: names it for unique ids. A checkout names it where nothing else does. */
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

/** A longer id must stay the same one when it is sent again. */
export function shortenInsertId(id: string | undefined): string | undefined {
  if (id === undefined || id.length <= limits.uniqueIdChars) return id;
  return hash('sha256', id, 'base64url');
}
