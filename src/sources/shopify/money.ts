import type { SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { addDecimals, parseDecimal, decimalToNumber, type Decimal } from '../decimal.js';
import { asObject } from '../json.js';
import { readAmount, readCurrency, readMoney, type LocatedValue } from '../money.js';
import { asObjects } from './fields.js';
import type { Reading } from './reading.js';
import type { OrderValue } from './request.js';

/**
 * Amounts of orders and checkouts. All of them are in the currency of the shop (`currency`,
 * `shop_money`), never in the one the buyer saw (`presentment_currency`), and none is a `current_*`
 * amount: those follow later edits and returns.
 */

/** Shopify's total: with tax, shipping, duties and tips, after discounts. */
export function readOrderTotal(payload: JsonObject): Reading {
  const amount = { value: payload.total_price, pointer: '/total_price' };
  return readValueAndCurrency(amount, locateShopCurrency(payload));
}

export function readOrderValue(payload: JsonObject, orderValue: OrderValue): Reading {
  if (orderValue === 'total') return readOrderTotal(payload);
  const sum = addSubtotalAndShipping(payload);
  return readValueAndCurrency(sum, locateShopCurrency(payload));
}

/** An amount for a property: a number, or the text that could not be read as one. */
export function toAmountProperty(value: unknown): unknown {
  const read = readAmount(value);
  if (read.kind === 'read') return read.amount;
  return read.kind === 'unreadable' ? value : undefined;
}

/** An exact amount. Undefined where there is none, or none that can be read. */
export function readExactAmount(value: unknown, currency?: string): Decimal | undefined {
  const read = readAmount(value, currency);
  return read.kind === 'read' ? parseDecimal(read.amount) : undefined;
}

export const decimalZero: Decimal = { units: 0n, scale: 0 };

export function subtractDecimals(one: Decimal, other: Decimal): Decimal {
  return addDecimals(one, { ...other, units: -other.units });
}

/** The ISO 4217 code of the shop's currency. */
export function readShopCurrency(payload: JsonObject): string | undefined {
  return readCurrency(locateShopCurrency(payload).value).code;
}

/** Value and currency with their warnings. An amount that is absent gives one, too. */
export function readValueAndCurrency(amount: LocatedValue, currency: LocatedValue): Reading {
  const { fields, warnings } = readMoney(amount, currency);
  const isAbsent = readAmount(amount.value).kind === 'absent';
  const absent: SourceWarning = {
    code: 'no_amount',
    pointer: amount.pointer,
    detail: 'is absent: the event has no value',
  };
  const unread = Object.fromEntries(
    [amount, currency]
      .filter(({ pointer }) =>
        warnings.some((each) => each.pointer === pointer && each.code.startsWith('unreadable')),
      )
      .map(({ value, pointer }) => [toName(pointer), value]),
  );
  return { fields, unread, warnings: isAbsent ? [...warnings, absent] : warnings };
}

function toName(pointer: string): string {
  return pointer.split('/').filter(Boolean).join('.');
}

function locateShopCurrency(payload: JsonObject): LocatedValue {
  const { currency } = payload;
  if (currency !== undefined && currency !== null && currency !== '') {
    return { value: currency, pointer: '/currency' };
  }
  const { currency_code: code } = asObject(asObject(payload.total_price_set).shop_money);
  return { value: code, pointer: '/total_price_set/shop_money/currency_code' };
}

/** An amount in the payload that cannot be read, or a sum of those that can. */
type Summed = Decimal | LocatedValue;

const isUnread = (summed: Summed): summed is LocatedValue => 'pointer' in summed;

/** What Klaviyo's own integration counts: subtotal after discounts, and shipping after discounts. */
function addSubtotalAndShipping(payload: JsonObject): LocatedValue {
  const subtotal = readPart({ value: payload.subtotal_price, pointer: '/subtotal_price' });
  const shipping = readShipping(payload);
  if (isUnread(subtotal)) return subtotal;
  if (isUnread(shipping)) return shipping;
  return { value: decimalToNumber(addDecimals(subtotal, shipping)), pointer: '/subtotal_price' };
}

function readPart(part: LocatedValue, absent?: Decimal): Summed {
  const isAbsent = readAmount(part.value).kind === 'absent';
  return (isAbsent ? absent : readExactAmount(part.value)) ?? part;
}

/**
 * The price of shipping after its discounts. `total_shipping_price_set` is before discounts, so each
 * shipping line counts with the discounts that are allocated to it. A line that an edit removed is
 * no part of Shopify's totals any more.
 */
function readShipping(payload: JsonObject): Summed {
  const lines = asObjects(payload.shipping_lines);
  if (lines.length === 0) return readShippingTotal(payload);
  let sum = decimalZero;
  for (const [index, line] of lines.entries()) {
    if (line.is_removed === true) continue;
    const net = readShippingLine(line, `/shipping_lines/${index}`);
    if (isUnread(net)) return net;
    sum = addDecimals(sum, net);
  }
  return sum;
}

/** `discounted_price` leaves out discounts of the whole order, and allocations may leave out the line's own. */
function readShippingLine(line: JsonObject, pointer: string): Summed {
  const price = readPart(findShopMoney(line, 'price', pointer));
  if (isUnread(price)) return price;
  let net = price;
  for (const [index, allocation] of asObjects(line.discount_allocations).entries()) {
    const at = `${pointer}/discount_allocations/${index}`;
    const discount = readPart(findShopMoney(allocation, 'amount', at), decimalZero);
    if (isUnread(discount)) return discount;
    net = subtractDecimals(net, discount);
  }
  const discounted = readPart(findShopMoney(line, 'discounted_price', pointer), price);
  if (isUnread(discounted)) return discounted;
  return least(net, discounted);
}

/** Without shipping lines: the total, without what codes for shipping took off. */
function readShippingTotal(payload: JsonObject): Summed {
  const total = readPart(
    {
      value: asObject(asObject(payload.total_shipping_price_set).shop_money).amount,
      pointer: '/total_shipping_price_set/shop_money/amount',
    },
    // What is not shipped has no shipping price.
    decimalZero,
  );
  if (isUnread(total)) return total;
  let net = total;
  for (const [index, code] of asObjects(payload.discount_codes).entries()) {
    if (code.type !== 'shipping') continue;
    const discount = readPart(
      { value: code.amount, pointer: `/discount_codes/${index}/amount` },
      decimalZero,
    );
    if (isUnread(discount)) return discount;
    net = subtractDecimals(net, discount);
  }
  return net.units < 0n ? decimalZero : net;
}

/** `price` beside `price_set`: the set says which of its amounts is the shop's. */
function findShopMoney(object: JsonObject, name: string, pointer: string): LocatedValue {
  const { amount } = asObject(asObject(object[`${name}_set`]).shop_money);
  if (readAmount(amount).kind !== 'absent') {
    return { value: amount, pointer: `${pointer}/${name}_set/shop_money/amount` };
  }
  return { value: object[name], pointer: `${pointer}/${name}` };
}

function least(one: Decimal, other: Decimal): Decimal {
  return subtractDecimals(one, other).units <= 0n ? one : other;
}
