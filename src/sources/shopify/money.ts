import type { SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import {
  addDecimals,
  decimalToNumber,
  decimalZero,
  parseDecimal,
  subtractDecimals,
  type Decimal,
} from '../decimal.js';
import { asObject, asObjects } from '../json.js';
import { readAmount, readCurrency, readMoney, type LocatedValue } from '../money.js';
import type { OrderValue, Reading } from './payload.js';

/**
 * Reads amounts of orders and checkouts. All amounts are in the currency of the shop (`currency`,
 * `shop_money`), never in the currency that the buyer saw (`presentment_currency`). `current_*` amounts
 * are not used, because later edits and returns change them.
 */

/** Reads Shopify's total: with tax, shipping, duties and tips, after discounts. */
export function readOrderTotal(payload: JsonObject): Reading {
  const amount = { value: payload.total_price, pointer: '/total_price' };
  return readValueAndCurrency(amount, locateShopCurrency(payload));
}

export function readOrderValue(payload: JsonObject, orderValue: OrderValue): Reading {
  if (orderValue === 'total') return readOrderTotal(payload);
  const sum = addSubtotalAndShipping(payload);
  return readValueAndCurrency(sum, locateShopCurrency(payload));
}

/** An amount as a property: a number, or the value that could not be read as one. */
export function toAmountProperty(value: unknown): unknown {
  const read = readAmount(value);
  if (read.kind === 'read') return read.amount;
  return read.kind === 'unreadable' ? value : undefined;
}

/** Reads an exact amount. Undefined if it is absent or unreadable. */
export function readExactAmount(value: unknown, currency?: string): Decimal | undefined {
  const read = readAmount(value, currency);
  return read.kind === 'read' ? parseDecimal(read.amount) : undefined;
}

/** The ISO 4217 code of the shop's currency. */
export function readShopCurrency(payload: JsonObject): string | undefined {
  return readCurrency(locateShopCurrency(payload).value).code;
}

/** Reads value and currency with their warnings. An absent amount gives a warning, too. */
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
      .map(({ value, pointer }) => [pointerToName(pointer), value]),
  );
  return { fields, unread, warnings: isAbsent ? [...warnings, absent] : warnings };
}

function pointerToName(pointer: string): string {
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

/** A sum of amounts, or the first amount in the payload that cannot be read. */
type PartAmount = Decimal | LocatedValue;

const isUnreadablePart = (summed: PartAmount): summed is LocatedValue => 'pointer' in summed;

/** The value that Klaviyo's own integration counts: subtotal and shipping, both after discounts. */
function addSubtotalAndShipping(payload: JsonObject): LocatedValue {
  const subtotal = readPartAmount({ value: payload.subtotal_price, pointer: '/subtotal_price' });
  const shipping = readShippingPrice(payload);
  if (isUnreadablePart(subtotal)) return subtotal;
  if (isUnreadablePart(shipping)) return shipping;
  return { value: decimalToNumber(addDecimals(subtotal, shipping)), pointer: '/subtotal_price' };
}

function readPartAmount(part: LocatedValue, absent?: Decimal): PartAmount {
  const isAbsent = readAmount(part.value).kind === 'absent';
  return (isAbsent ? absent : readExactAmount(part.value)) ?? part;
}

/**
 * Reads the price of shipping after its discounts. `total_shipping_price_set` is before discounts, so
 * each shipping line is added with the discounts that are allocated to it. Shopify's totals leave out
 * a line that an edit removed.
 */
function readShippingPrice(payload: JsonObject): PartAmount {
  const lines = asObjects(payload.shipping_lines);
  if (lines.length === 0) return readShippingTotal(payload);
  let sum = decimalZero;
  for (const [index, line] of lines.entries()) {
    if (line.is_removed === true) continue;
    const net = readShippingLine(line, `/shipping_lines/${index}`);
    if (isUnreadablePart(net)) return net;
    sum = addDecimals(sum, net);
  }
  return sum;
}

/**
 * The lower of two prices: `discounted_price` lacks discounts of the whole order, and the allocations
 * may lack the line's own discounts.
 */
function readShippingLine(line: JsonObject, pointer: string): PartAmount {
  const price = readPartAmount(findShopMoney(line, 'price', pointer));
  if (isUnreadablePart(price)) return price;
  let net = price;
  for (const [index, allocation] of asObjects(line.discount_allocations).entries()) {
    const at = `${pointer}/discount_allocations/${index}`;
    const discount = readPartAmount(findShopMoney(allocation, 'amount', at), decimalZero);
    if (isUnreadablePart(discount)) return discount;
    net = subtractDecimals(net, discount);
  }
  const discounted = readPartAmount(findShopMoney(line, 'discounted_price', pointer), price);
  if (isUnreadablePart(discounted)) return discounted;
  return selectLowerAmount(net, discounted);
}

/** Without shipping lines: the shipping total minus discount codes for shipping. */
function readShippingTotal(payload: JsonObject): PartAmount {
  const total = readPartAmount(
    {
      value: asObject(asObject(payload.total_shipping_price_set).shop_money).amount,
      pointer: '/total_shipping_price_set/shop_money/amount',
    },
    // An order that is not shipped has no shipping price.
    decimalZero,
  );
  if (isUnreadablePart(total)) return total;
  let net = total;
  for (const [index, code] of asObjects(payload.discount_codes).entries()) {
    if (code.type !== 'shipping') continue;
    const discount = readPartAmount(
      { value: code.amount, pointer: `/discount_codes/${index}/amount` },
      decimalZero,
    );
    if (isUnreadablePart(discount)) return discount;
    net = subtractDecimals(net, discount);
  }
  return net.units < 0n ? decimalZero : net;
}

/** Prefers `price_set` to `price`: the set holds the amount in the currency of the shop. */
function findShopMoney(object: JsonObject, name: string, pointer: string): LocatedValue {
  const { amount } = asObject(asObject(object[`${name}_set`]).shop_money);
  if (readAmount(amount).kind !== 'absent') {
    return { value: amount, pointer: `${pointer}/${name}_set/shop_money/amount` };
  }
  return { value: object[name], pointer: `${pointer}/${name}` };
}

function selectLowerAmount(one: Decimal, other: Decimal): Decimal {
  return subtractDecimals(one, other).units <= 0n ? one : other;
}
