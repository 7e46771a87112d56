import type { Numeral } from '../../ingest/schema.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { stringifyJson, type JsonObject } from '../../json/json.js';
import { asText, asWhole } from '../json.js';
import { readCurrency, toNumeral } from '../money.js';

/** Currencies whose amounts Stripe gives in whole units (docs.stripe.com/currencies, zero-decimal). */
const zeroDecimal = 'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' ');
/** Those with thousandths. */
const threeDecimal = 'BHD JOD KWD OMR TND'.split(' ');

/**
 * ISK and UGX are missing on purpose: nobody pays hundredths of them, yet Stripe multiplies them by
 * 100 as it does most (docs.stripe.com/currencies, special cases), so 500 is five shillings.
 */
const places = new Map<string, number>([
  ...zeroDecimal.map((code): [string, number] => [code, 0]),
  ...threeDecimal.map((code): [string, number] => [code, 3]),
]);
const ordinaryPlaces = 2;

/** An amount in a currency's smallest unit as Stripe has it, in units: 2998, USD is 29.98. Exact. */
export function toDecimalText(minor: bigint, currency: string): string {
  const after = places.get(currency) ?? ordinaryPlaces;
  const sign = minor < 0n ? '-' : '';
  const digits = String(minor < 0n ? -minor : minor).padStart(after + 1, '0');
  if (after === 0) return sign + digits;
  return `${sign}${digits.slice(0, -after)}.${digits.slice(-after)}`;
}

/** An amount and its currency, as an event carries them. */
export type Money = { readonly amount: Numeral; readonly currency: string; readonly minor: bigint };

export function toMoney(minor: bigint, currency: string): Money {
  return { amount: toNumeral(toDecimalText(minor, currency)), currency, minor };
}

/** Undefined where either is missing: no amount is known without its unit. */
export function readMoney(minor: unknown, currency: unknown): Money | undefined {
  const whole = asWhole(minor);
  const code = asText(currency)?.toUpperCase();
  return whole === undefined || code === undefined ? undefined : toMoney(whole, code);
}

/** An amount that an event counts, read from a field of `data.object`. */
export type CountedMoney =
  /** There is none, or it is zero or less. */
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly money: Money }
  /** The event has no value then. `properties` keep what is there, as it is. */
  | {
      readonly kind: 'unreadable';
      readonly warnings: readonly SourceWarning[];
      readonly properties: JsonObject;
    };

/** `field`: where the amount stands in `data.object`. */
export function readCounted(object: JsonObject, field: string): CountedMoney {
  const given = object[field];
  if (given === undefined || given === null) return { kind: 'none' };
  const minor = asWhole(given);
  const { code } = readCurrency(object.currency);
  if (minor !== undefined && minor <= 0n) return { kind: 'none' };
  if (minor !== undefined && code !== undefined) {
    return { kind: 'read', money: toMoney(minor, code) };
  }
  const warnings: SourceWarning[] = [];
  if (minor === undefined) {
    const detail = 'is no whole number; the event has no value';
    warnings.push({ code: 'unreadable_amount', pointer: `/data/object/${field}`, detail });
  }
  if (code === undefined) {
    const isGiven = object.currency !== undefined && object.currency !== null;
    warnings.push({
      code: isGiven ? 'unreadable_currency' : 'no_currency',
      pointer: '/data/object/currency',
      detail: 'is no ISO 4217 code, so the unit of the amount is not known; the event has no value',
    });
  }
  const properties = { AmountAsGiven: toPlain(given), CurrencyAsGiven: toPlain(object.currency) };
  return { kind: 'unreadable', warnings, properties };
}

const keptChars = 200;

function toPlain(value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' || asWhole(value) !== undefined) return value;
  return (asText(value) ?? stringifyJson(value)).slice(0, keptChars);
}
