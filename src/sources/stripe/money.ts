import { ExactInteger } from '../../json.js';
import { asText, asWhole } from '../json.js';
import type { Numeral } from '../../ingest/schema.js';

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

/** The JSON number of a decimal. A whole one keeps its digits whatever its size. */
function toNumeral(decimal: string): Numeral {
  const number = Number(decimal);
  const whole = decimal.replace(/\.0+$/, '');
  const isExact = whole.includes('.') || Number.isSafeInteger(number);
  return isExact ? number : new ExactInteger(whole);
}

/** An amount and its currency, as an event carries them. */
export type Money = { readonly amount: Numeral; readonly currency: string; readonly minor: bigint };

/** Undefined where either is missing: no amount can be told without knowing its unit. */
export function readMoney(minor: unknown, currency: unknown): Money | undefined {
  const whole = asWhole(minor);
  const code = asText(currency)?.toUpperCase();
  if (whole === undefined || code === undefined) return undefined;
  return { amount: toNumeral(toDecimalText(whole, code)), currency: code, minor: whole };
}
