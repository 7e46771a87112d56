import type { Skipped, SourceEntry } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { addDecimals, decimalToNumber, decimalZero } from '../decimal.js';
import { asObject, asObjects, asText, distinct } from '../json.js';
import { readCurrency, type LocatedValue } from '../money.js';
import { describeLineItems, toLineItem } from './line-items.js';
import { readExactAmount, readValueAndCurrency } from './money.js';
import { findOrderSkipReason } from './orders.js';
import {
  asShopifyId,
  createShopifyInsertId,
  dropEmpty,
  joinReadings,
  readShopifyTime,
  optionalWarnings,
  type PendingRefunds,
  type Reading,
  type ShopifyMap,
  type ShopifyRequest,
} from './payload.js';
import { orderPersonKey, readShopifyBuyer } from './person.js';
import { readTime } from '../time.js';

/**
 * Maps refunds. A refund gives one event with the id of the refund, whichever webhook delivers it.
 * refunds/create comes once, when the refund is made. Its transactions may then be pending, for some
 * payment methods for days; orders/updated later delivers the refunds of the order with the results.
 * The value of a refund is known when none of its transactions is pending.
 */

/**
 * Maps refunds/create. The payload is Shopify's Refund (REST Admin API, 2026-04). It has neither a
 * person, who is looked up by the order, nor a total, which is the sum of its transactions.
 */
export const mapRefund: ShopifyMap = (request) => {
  const { payload } = request;
  return joinMappedRefunds([
    mapOneRefund(request, { refund: payload, orderId: payload.order_id, index: 0 }),
  ]);
};

/** Maps the refunds in orders/updated. Other topics deliver everything else about the order. */
export const mapRefundsOfOrder: ShopifyMap = (request) => {
  const { payload } = request;
  const refunds = asObjects(payload.refunds);
  if (refunds.length === 0) return { entries: [], skipped: [{ reason: 'no_refund' }] };
  const reason = findOrderSkipReason(payload);
  if (reason !== undefined) return { entries: [], skipped: [{ reason }] };
  const mapListedRefund = (refund: JsonObject, index: number): MappedRefund =>
    isOldRefund(refund, payload)
      ? { skipped: { reason: 'old_refund', id: asShopifyId(refund.id) } }
      : mapOneRefund(request, { refund, orderId: payload.id, index, order: payload });
  return joinMappedRefunds(refunds.map(mapListedRefund));
};

type MappedRefund = { readonly entry: SourceEntry } | { readonly skipped: Skipped };

function joinMappedRefunds(mapped: readonly MappedRefund[]): ReturnType<ShopifyMap> {
  return {
    entries: mapped.flatMap((each) => ('entry' in each ? [each.entry] : [])),
    skipped: mapped.flatMap((each) => ('skipped' in each ? [each.skipped] : [])),
  };
}

/** Every payment method settles a refund within this time. */
const settledWithinMs = 60 * 24 * 60 * 60 * 1000;

/**
 * An order may be updated for many reasons, even after years. An old refund was recorded when it was
 * made, perhaps by another integration under another id.
 */
function isOldRefund(refund: JsonObject, { updated_at: updatedAt }: JsonObject): boolean {
  const [updated, refunded] = [readTime(updatedAt), readTime(refund.created_at)];
  if (updated.kind !== 'read' || refunded.kind !== 'read') return false;
  return updated.at - refunded.at > settledWithinMs;
}

type Refund = {
  readonly refund: JsonObject;
  readonly orderId: unknown;
  /** The place of the refund in the request, from 0. */
  readonly index: number;
  /** Absent: the request does not hold the order. */
  readonly order?: JsonObject;
};

function mapOneRefund(
  request: ShopifyRequest,
  { refund, orderId: id, index, order }: Refund,
): MappedRefund {
  const pointer = order === undefined ? '' : `/refunds/${index}`;
  const selected = selectTransactions(refund, request.pendingRefunds, pointer);
  if (typeof selected === 'string') {
    return { skipped: { reason: selected, id: asShopifyId(refund.id) } };
  }
  const orderId = asShopifyId(id);
  const reading = joinReadings(
    readShopifyTime(refund, ['processed_at', 'created_at'], pointer),
    readRefundedAmount(selected, order),
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
      ...describeReturnedItems(refund.refund_line_items),
      ...reading.unread,
    }),
  });
  const personKeys = orderId === undefined ? [] : [orderPersonKey(request.shop, orderId)];
  const part = { id: asShopifyId(refund.id), ...optionalWarnings(reading) };
  return { entry: { lane: 'events', entry, index, personKeys, ...part } };
}

type Transaction = { readonly transaction: JsonObject; readonly pointer: string };

/** The transactions that count, or the reason why none does. */
function selectTransactions(
  refund: JsonObject,
  pendingRefunds: PendingRefunds,
  pointer: string,
): readonly Transaction[] | 'no_amount' | 'test' | 'pending' | 'failed' {
  const all = asObjects(refund.transactions)
    .map((transaction, at) => ({ transaction, pointer: `${pointer}/transactions/${at}` }))
    .filter(({ transaction }) => transaction.kind === 'refund');
  // Returned goods without a payment, or an authorization that was cancelled.
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
 * Reads the sum of the transactions in their own currency, which is the buyer's if a shop sells in
 * several. There is no value if the transactions have several currencies or an amount is unreadable.
 */
function readRefundedAmount(transactions: readonly Transaction[], order: JsonObject = {}): Reading {
  const codes = transactions.map(({ transaction }) => readCurrency(transaction.currency).code);
  const [code, ...otherCodes] = distinct(codes);
  const amounts = transactions.map(({ transaction, pointer }) => ({
    value: transaction.amount,
    pointer: `${pointer}/amount`,
  }));
  const texts = transactions.map(({ transaction: { amount, currency } }) =>
    [amountToText(amount), amountToText(currency)].filter(Boolean).join(' '),
  );
  const currency = locateRefundCurrency(transactions, order);
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

/** The currency of the transactions, else that of the order if the buyer paid in the currency of the shop. */
function locateRefundCurrency(
  transactions: readonly Transaction[],
  order: JsonObject,
): LocatedValue {
  const [first] = transactions;
  const own = transactions.find(({ transaction }) => asText(transaction.currency) !== undefined);
  if (own !== undefined) {
    return { value: own.transaction.currency, pointer: `${own.pointer}/currency` };
  }
  const { currency, presentment_currency: presentment = currency } = order;
  const isOne = presentment === null || presentment === currency;
  return { value: isOne ? currency : undefined, pointer: `${first?.pointer ?? ''}/currency` };
}

function amountToText(value: unknown): string | undefined {
  return asShopifyId(value) ?? (typeof value === 'number' ? String(value) : undefined);
}

function describeReturnedItems(lines: unknown): JsonObject {
  const returned = asObjects(lines);
  const { ItemNames, Brands } = describeLineItems(returned.map((each) => asObject(each.line_item)));
  const Items = returned.map((each) => toLineItem(asObject(each.line_item), each.quantity));
  return { ItemNames, Brands, Items };
}
