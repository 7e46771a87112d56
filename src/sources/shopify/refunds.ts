import type { SourceEntry, Skipped } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { addDecimals, decimalToNumber } from '../decimal.js';
import { asObject, asText } from '../json.js';
import { readCurrency, type LocatedValue } from '../money.js';
import { readTime } from '../time.js';
import { dropEmpty, asShopifyId, asObjects } from './fields.js';
import { distinct, describeLineItems, toLineItem } from './goods.js';
import { readExactAmount, readValueAndCurrency, decimalZero } from './money.js';
import { findOrderSkipReason } from './orders.js';
import { readShopifyBuyer, orderPersonKey } from './person.js';
import { joinReadings, readShopifyTime, toWarnings, type Reading } from './reading.js';
import {
  createShopifyInsertId,
  type PendingRefunds,
  type ShopifyMap,
  type ShopifyRequest,
} from './request.js';

/**
 * A refund gives one event, with the refund's id, whichever webhook brings it. refunds/create comes
 * once, when the refund is made. Its transactions may be pending then, for some payment methods for
 * days; that they succeeded or failed is in the refunds of the order, which orders/updated carries.
 * The value of a refund is known once none of its transactions is pending.
 */

/**
 * The payload is Shopify's Refund (REST Admin API, 2026-04). It names neither a person nor, at its
 * top, a currency or an amount: the order tells the one, the transactions the other.
 */
export const mapRefund: ShopifyMap = (request) => {
  const { payload } = request;
  return toPost([mapOne(request, { refund: payload, orderId: payload.order_id, index: 0 })]);
};

/** The refunds of an order that is updated. Everything else of it is in other topics. */
export const mapRefundsOfOrder: ShopifyMap = (request) => {
  const { payload } = request;
  const refunds = asObjects(payload.refunds);
  if (refunds.length === 0) return { entries: [], skipped: [{ reason: 'no_refund' }] };
  const reason = findOrderSkipReason(payload);
  if (reason !== undefined) return { entries: [], skipped: [{ reason }] };
  const toMapped = (refund: JsonObject, index: number): Mapped =>
    isOld(refund, payload)
      ? { skipped: { reason: 'old_refund', id: asShopifyId(refund.id) } }
      : mapOne(request, { refund, orderId: payload.id, index, order: payload });
  return toPost(refunds.map(toMapped));
};

type Mapped = { readonly entry: SourceEntry } | { readonly skipped: Skipped };

function toPost(mapped: readonly Mapped[]): ReturnType<ShopifyMap> {
  return {
    entries: mapped.flatMap((each) => ('entry' in each ? [each.entry] : [])),
    skipped: mapped.flatMap((each) => ('skipped' in each ? [each.skipped] : [])),
  };
}

/** No payment method takes as long to settle a refund. */
const settledWithinMs = 60 * 24 * 60 * 60 * 1000;

/**
 * An order is updated for many reasons, years later too. A refund of long before was recorded when it
 * was made, perhaps by another integration under another id.
 */
function isOld(refund: JsonObject, { updated_at: updatedAt }: JsonObject): boolean {
  const [updated, refunded] = [readTime(updatedAt), readTime(refund.created_at)];
  if (updated.kind !== 'read' || refunded.kind !== 'read') return false;
  return updated.at - refunded.at > settledWithinMs;
}

type Refund = {
  readonly refund: JsonObject;
  readonly orderId: unknown;
  /** Its place in the request. */
  readonly index: number;
  /** The order, where the request holds it. */
  readonly order?: JsonObject;
};

function mapOne(request: ShopifyRequest, { refund, orderId: id, index, order }: Refund): Mapped {
  const pointer = order === undefined ? '' : `/refunds/${index}`;
  const selected = selectTransactions(refund, request.pendingRefunds, pointer);
  if (typeof selected === 'string') {
    return { skipped: { reason: selected, id: asShopifyId(refund.id) } };
  }
  const orderId = asShopifyId(id);
  const reading = joinReadings(
    readShopifyTime(refund, ['processed_at', 'created_at'], pointer),
    readPaidBack(selected, order),
  );
  const entry = dropEmpty({
    event_name: 'Refunded Order',
    insert_id: createShopifyInsertId(refund.id),
    ...reading.fields,
    ...(order !== undefined && readShopifyBuyer(order)),
    order_id: orderId,
    properties: dropEmpty({
      OrderId: orderId,
      RefundId: asShopifyId(refund.id),
      Reason: asText(refund.note),
      ...toReturned(refund.refund_line_items),
      ...reading.unread,
    }),
  });
  const personKeys = orderId === undefined ? [] : [orderPersonKey(request.shop, orderId)];
  const part = { id: asShopifyId(refund.id), ...toWarnings(reading) };
  return { entry: { lane: 'events', entry, index, personKeys, ...part } };
}

type Transaction = { readonly transaction: JsonObject; readonly pointer: string };

/** The transactions that count, or why none does. */
function selectTransactions(
  refund: JsonObject,
  pendingRefunds: PendingRefunds,
  pointer: string,
): readonly Transaction[] | 'no_amount' | 'test' | 'pending' | 'failed' {
  const all = asObjects(refund.transactions)
    .map((transaction, at) => ({ transaction, pointer: `${pointer}/transactions/${at}` }))
    .filter(({ transaction }) => transaction.kind === 'refund');
  // Goods that came back without money, or an authorization that was given up.
  if (all.length === 0) return 'no_amount';
  const real = all.filter(({ transaction }) => transaction.test !== true);
  if (real.length === 0) return 'test';
  const isPending = ({ transaction: { status } }: Transaction): boolean =>
    status !== 'success' && status !== 'failure' && status !== 'error';
  if (pendingRefunds === 'wait' && real.some(isPending)) return 'pending';
  const counted = real.filter((each) => each.transaction.status === 'success' || isPending(each));
  return counted.length === 0 ? 'failed' : counted;
}

/**
 * The sum of the transactions, in their own currency: the buyer's, where a shop sells in several.
 * Amounts of several currencies have no sum, and one that cannot be read is not nothing: no value then.
 */
function readPaidBack(transactions: readonly Transaction[], order: JsonObject = {}): Reading {
  const codes = transactions.map(({ transaction }) => readCurrency(transaction.currency).code);
  const [code, ...otherCodes] = distinct(codes);
  const amounts = transactions.map(({ transaction, pointer }) => ({
    value: transaction.amount,
    pointer: `${pointer}/amount`,
  }));
  const texts = transactions.map(({ transaction: { amount, currency } }) =>
    [toText(amount), toText(currency)].filter(Boolean).join(' '),
  );
  const currency = findCurrency(transactions, order);
  if (otherCodes.length > 0) {
    const detail = 'is one of several currencies; the amounts stay as the property Amounts';
    const warning = { code: 'several_currencies', pointer: currency.pointer, detail };
    return { fields: {}, unread: { Amounts: texts }, warnings: [warning] };
  }
  const unread = amounts.find(({ value }) => readExactAmount(value, code) === undefined);
  if (unread !== undefined) {
    return { ...readValueAndCurrency(unread, currency), unread: dropEmpty({ Amounts: texts }) };
  }
  const sum = amounts
    .map(({ value }) => readExactAmount(value, code) ?? decimalZero)
    .reduce(addDecimals, decimalZero);
  return readValueAndCurrency(
    { value: decimalToNumber(sum), pointer: amounts[0]?.pointer ?? '' },
    currency,
  );
}

/** Of the transactions; else of the order, where its buyer paid in the currency of the shop. */
function findCurrency(transactions: readonly Transaction[], order: JsonObject): LocatedValue {
  const [first] = transactions;
  const own = transactions.find(({ transaction }) => asText(transaction.currency) !== undefined);
  if (own !== undefined) {
    return { value: own.transaction.currency, pointer: `${own.pointer}/currency` };
  }
  const { currency, presentment_currency: presentment = currency } = order;
  const isOne = presentment === null || presentment === currency;
  return { value: isOne ? currency : undefined, pointer: `${first?.pointer ?? ''}/currency` };
}

function toText(value: unknown): string | undefined {
  return asShopifyId(value) ?? (typeof value === 'number' ? String(value) : undefined);
}

function toReturned(lines: unknown): JsonObject {
  const returned = asObjects(lines);
  const { ItemNames, Brands } = describeLineItems(returned.map((each) => asObject(each.line_item)));
  const Items = returned.map((each) => toLineItem(asObject(each.line_item), each.quantity));
  return { ItemNames, Brands, Items };
}
