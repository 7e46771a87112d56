import type { Numeral } from '../../ingest/schema.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { stringifyJson, type JsonObject } from '../../json/json.js';
import { asText, asBigInt } from '../json.js';
import { readCurrency, parseNumeral } from '../money.js';

/** Currencies whose amounts Stripe gives in whole units (docs.stripe.com/currencies, zero-decimal). */
const zeroDecimal = 'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' ');
/** Currencies whose smallest unit is a thousandth. */
const threeDecimal = 'BHD JOD KWD OMR TND'.split(' ');

/**
 * Decimal places by currency. ISK and UGX are missing on purpose: they have no hundredths, but Stripe
 * multiplies them by 100 (docs.stripe.com/currencies, special cases), so 500 is five shillings.
 */
const places = new Map<string, number>([
  ...zeroDecimal.map((code): [string, number] => [code, 0]),
  ...threeDecimal.map((code): [string, number] => [code, 3]),
]);
const ordinaryPlaces = 2;

/** Formats an amount in Stripe's smallest unit as an exact decimal: 2998 USD is 29.98. */
export function formatMinorUnits(minor: bigint, currency: string): string {
  const after = places.get(currency) ?? ordinaryPlaces;
  const sign = minor < 0n ? '-' : '';
  const digits = String(minor < 0n ? -minor : minor).padStart(after + 1, '0');
  if (after === 0) return sign + digits;
  return `${sign}${digits.slice(0, -after)}.${digits.slice(-after)}`;
}

/** An amount and its currency. `minor`: the amount in the smallest unit. */
export type StripeAmount = {
  readonly amount: Numeral;
  readonly currency: string;
  readonly minor: bigint;
};

export function createStripeAmount(minor: bigint, currency: string): StripeAmount {
  return { amount: parseNumeral(formatMinorUnits(minor, currency)), currency, minor };
}

/** Reads an amount. Undefined if the amount or its currency is missing. */
export function readStripeAmount(minor: unknown, currency: unknown): StripeAmount | undefined {
  const whole = asBigInt(minor);
  const code = asText(currency)?.toUpperCase();
  return whole === undefined || code === undefined ? undefined : createStripeAmount(whole, code);
}

/** The value of an event, read from a field of `data.object`. */
export type StripeValue =
  /** The amount is absent, zero or negative. */
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly money: StripeAmount }
  /** The event has no value. `properties` keep the amount and the currency as they came. */
  | {
      readonly kind: 'unreadable';
      readonly warnings: readonly SourceWarning[];
      readonly properties: JsonObject;
    };

/** Reads the amount in this field of `data.object`, in the currency of the object. */
export function readStripeValue(object: JsonObject, field: string): StripeValue {
  const given = object[field];
  if (given === undefined || given === null) return { kind: 'none' };
  const minor = asBigInt(given);
  const { code } = readCurrency(object.currency);
  if (minor !== undefined && minor <= 0n) return { kind: 'none' };
  if (minor !== undefined && code !== undefined) {
    return { kind: 'read', money: createStripeAmount(minor, code) };
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
  const properties = {
    AmountAsGiven: shortenUnreadable(given),
    CurrencyAsGiven: shortenUnreadable(object.currency),
  };
  return { kind: 'unreadable', warnings, properties };
}

const keptChars = 200;

function shortenUnreadable(value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' || asBigInt(value) !== undefined) return value;
  return (asText(value) ?? stringifyJson(value)).slice(0, keptChars);
}
