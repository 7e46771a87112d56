import { ExactInteger } from '../json/json.js';

/** `units` / 10^`scale`. Sums of floats are off by a cent sooner or later; these are not. */
export type Decimal = { readonly units: bigint; readonly scale: number };

/** Longer ones are no amounts, and must not be a way to keep a processor busy. */
const decimalPattern = /^(-?\d{1,20})(?:\.(\d{1,10}))?$/;

/** Of an amount as text or as a JSON number; undefined where it is none. */
export function parseDecimal(value: unknown): Decimal | undefined {
  const [, whole, fraction = ''] = decimalPattern.exec(amountDigits(value)) ?? [];
  if (whole === undefined) return undefined;
  return { units: BigInt(whole + fraction), scale: fraction.length };
}

export function addDecimals(one: Decimal, other: Decimal): Decimal {
  const scale = Math.max(one.scale, other.scale);
  return { units: scaleUnits(one, scale) + scaleUnits(other, scale), scale };
}

/** `count`: a whole number. */
export function multiplyByCount({ units, scale }: Decimal, count: number): Decimal {
  return { units: units * BigInt(count), scale };
}

export function multiplyDecimals(one: Decimal, other: Decimal): Decimal {
  return { units: one.units * other.units, scale: one.scale + other.scale };
}

/** The nearest JavaScript number; JSON writes it as the decimal it came from (up to 15 digits). */
export function decimalToNumber({ units, scale }: Decimal): number {
  return Number(`${units}e-${scale}`);
}

function amountDigits(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  return value instanceof ExactInteger ? value.digits : '';
}

function scaleUnits({ units, scale }: Decimal, wanted: number): bigint {
  return units * 10n ** BigInt(wanted - scale);
}
