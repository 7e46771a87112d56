import { ExactInteger } from '../json/json.js';

/** An exact decimal: `units` / 10^`scale`. Sums of floating-point amounts would be off by a cent at some point. */
export type Decimal = { readonly units: bigint; readonly scale: number };

/** Bounds the digits, so that a long text cannot keep the processor busy. */
const decimalPattern = /^(-?\d{1,20})(?:\.(\d{1,10}))?$/;

/** Parses an amount given as text or as a JSON number. Undefined if it is not a decimal. */
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

export const decimalZero: Decimal = { units: 0n, scale: 0 };

export function subtractDecimals(one: Decimal, other: Decimal): Decimal {
  return addDecimals(one, { ...other, units: -other.units });
}
