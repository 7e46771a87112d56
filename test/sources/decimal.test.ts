import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addDecimals,
  multiplyByCount,
  parseDecimal,
  decimalToNumber,
} from '../../src/sources/decimal.js';
import { ExactInteger } from '../../src/json/json.js';

const sum = (...amounts: readonly string[]): number =>
  decimalToNumber(amounts.map((amount) => parseDecimal(amount)!).reduce(addDecimals));

describe('a decimal', () => {
  it.each([
    ['19.99', 19.99],
    ['-5.00', -5],
    ['0.00', 0],
    ['-0.05', -0.05],
    [10.1, 10.1],
    ['1000', 1000],
    [new ExactInteger('9007199254740993'), 9007199254740992],
  ])('is read from %s', (given, expected) => {
    expect(decimalToNumber(parseDecimal(given)!)).toBe(expected);
  });

  it.each([null, undefined, '', ' ', 'ten', '1,5', '1e3', '.5', '5.', '--1', NaN, Infinity, 1e21])(
    'is not read from %s',
    (given) => {
      expect(parseDecimal(given)).toBeUndefined();
    },
  );

  it('is not read from an unbounded number of digits', () => {
    expect(parseDecimal('9'.repeat(21))).toBeUndefined();
    expect(parseDecimal(`0.${'1'.repeat(11)}`)).toBeUndefined();
  });

  it('is added exactly where JavaScript numbers are not', () => {
    expect(0.1 + 0.2).not.toBe(0.3);
    expect(sum('0.1', '0.2')).toBe(0.3);
    expect(sum('19.99', '5', '-0.001')).toBe(24.989);
    expect(decimalToNumber(multiplyByCount(parseDecimal('19.99')!, 3))).toBe(59.97);
  });

  it('is added like a number of cents', () => {
    const toAmount = (cents: number): string => (cents / 100).toFixed(2);
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -10_000_000, max: 10_000_000 }), { minLength: 1 }),
        (cents) => {
          const total = cents.reduce((one, other) => one + other);
          expect(sum(...cents.map(toAmount)) + 0).toBe(total / 100 + 0);
        },
      ),
    );
  });
});
