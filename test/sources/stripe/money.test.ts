import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readStripeAmount, formatMinorUnits } from '../../../src/sources/stripe/money.js';
import { ExactInteger, stringifyJson } from '../../../src/json/json.js';

describe("an amount in a currency's smallest unit", () => {
  const zeroDecimal = 'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' ');
  const threeDecimal = 'BHD JOD KWD OMR TND'.split(' ');
  // Currencies without decimals for payers that Stripe sends in hundredths, or that are special only in payouts.
  const hundredths = 'USD EUR GBP ISK UGX HUF TWD MXN BRL INR'.split(' ');

  it.each(zeroDecimal)('is whole in %s', (currency) => {
    expect(formatMinorUnits(500n, currency)).toBe('500');
    expect(readStripeAmount(500, currency.toLowerCase())).toEqual({
      amount: 500,
      currency,
      minor: 500n,
    });
  });

  it.each(threeDecimal)('is in thousandths in %s', (currency) => {
    expect(formatMinorUnits(5120n, currency)).toBe('5.120');
    expect(readStripeAmount(5120, currency)?.amount).toBe(5.12);
  });

  it.each(hundredths)('is in hundredths in %s', (currency) => {
    expect(formatMinorUnits(500n, currency)).toBe('5.00');
    expect(readStripeAmount(500, currency)?.amount).toBe(5);
  });

  const amounts: [bigint, string, string][] = [
    [0n, 'USD', '0.00'],
    [1n, 'USD', '0.01'],
    [99n, 'USD', '0.99'],
    [100n, 'USD', '1.00'],
    [2998n, 'USD', '29.98'],
    [-2998n, 'USD', '-29.98'],
    [-5n, 'USD', '-0.05'],
    [0n, 'JPY', '0'],
    [-7n, 'JPY', '-7'],
    [1n, 'KWD', '0.001'],
    [999n, 'KWD', '0.999'],
    [9007199254740993n, 'USD', '90071992547409.93'],
  ];
  it.each(amounts)('%s %s is %s', (minor, currency, decimal) => {
    expect(formatMinorUnits(minor, currency)).toBe(decimal);
  });

  it('becomes the number that a parser of the decimal returns, whatever its size', () => {
    const size = 10n ** 30n;
    const minor = fc.oneof(
      fc.bigInt({ min: -size, max: size }),
      fc.bigInt({ min: -99_999_999n, max: 99_999_999n }),
      fc.bigInt({ min: -(size / 100n), max: size / 100n }).map((each) => each * 100n),
    );
    fc.assert(
      fc.property(minor, fc.constantFrom('USD', 'JPY', 'KWD'), (each, currency) => {
        const money = readStripeAmount(new ExactInteger(String(each)), currency);
        const text = stringifyJson(money?.amount);
        const decimal = formatMinorUnits(each, currency);
        const whole = decimal.replace(/\.0+$/, '');
        if (whole.includes('.')) expect(Number(text)).toBe(Number(decimal));
        else expect(text).toBe(whole);
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps every digit of a whole amount beyond 2^53', () => {
    const text = (digits: string, currency: string) =>
      stringifyJson(readStripeAmount(new ExactInteger(digits), currency)?.amount);
    expect(text('9007199254740993', 'jpy')).toBe('9007199254740993');
    expect(text('900719925474099300', 'usd')).toBe('9007199254740993');
    expect(text('9007199254740993', 'usd')).toBe('90071992547409.94');
  });

  it.each([
    ['12', 'usd'],
    [12.5, 'usd'],
    [null, 'usd'],
    [undefined, 'usd'],
    [{}, 'usd'],
    [NaN, 'usd'],
    [Infinity, 'usd'],
    [1e21, 'usd'],
    [12, null],
    [12, ''],
    [12, 840],
  ])('is null if the amount or the currency is invalid: %j %j', (minor, currency) => {
    expect(readStripeAmount(minor, currency)).toBeUndefined();
  });
});
