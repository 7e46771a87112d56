import type { JsonObject } from '../../json.js';
import { add, toDecimal, toNumber, type Decimal } from '../decimal.js';
import { asObject, asText } from '../json.js';
import { given, toId, toList, toTime } from './fields.js';
import { toDistinct, toGoods, toItem } from './goods.js';
import { toOrderKey } from './person.js';
import { toInsertId, type ShopifyMap } from './request.js';

/**
 * The payload is Shopify's Refund (REST Admin API, 2026-04). It names neither a person nor, at its
 * top, a currency or an amount: the order tells the one, the transactions the other.
 */
export const mapRefund: ShopifyMap = ({ shop, payload }) => {
  const paidBack = toList(payload.transactions).filter(
    ({ kind, status }) => kind === 'refund' && status === 'success',
  );
  // Goods that came back without money, or money that did not get through.
  if (paidBack.length === 0) return { entries: [], skipped: [{ reason: 'no_amount' }] };
  if (paidBack.every(({ test }) => test === true))
    return { entries: [], skipped: [{ reason: 'test' }] };
  const orderId = toId(payload.order_id);
  const entry = given({
    event_name: 'Refunded Order',
    event_time: toTime(payload.processed_at) ?? toTime(payload.created_at),
    insert_id: toInsertId(payload.id),
    ...toMoney(paidBack),
    order_id: orderId,
    properties: given({
      OrderId: orderId,
      RefundId: toId(payload.id),
      Reason: asText(payload.note),
      ...toReturned(payload.refund_line_items),
    }),
  });
  const personKeys = orderId === undefined ? [] : [toOrderKey(shop, orderId)];
  return { entries: [{ lane: 'events', entry, index: 0, personKeys }], skipped: [] };
};

/** Amounts of several currencies have no sum, and one that cannot be read is not nothing: no value then. */
function toMoney(transactions: readonly JsonObject[]): JsonObject {
  const [currency, ...others] = toDistinct(transactions.map((each) => asText(each.currency)));
  const amounts = transactions.map(({ amount }) => toDecimal(amount));
  const readable = amounts.filter((amount) => amount !== undefined);
  if (others.length > 0 || readable.length < amounts.length) return { currency };
  return { value: toNumber(readable.reduce(add, zero)), currency };
}

const zero: Decimal = { units: 0n, scale: 0 };

function toReturned(lines: unknown): JsonObject {
  const returned = toList(lines);
  const { ItemNames, Brands } = toGoods(returned.map((each) => asObject(each.line_item)));
  const Items = returned.map((each) => toItem(asObject(each.line_item), each.quantity));
  return { ItemNames, Brands, Items };
}
