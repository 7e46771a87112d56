import { describe, expect, it } from 'vitest';
import { stringifyJson } from '../../src/json/json.js';
import { parseJson } from '../../src/json/json.js';
import { readAmount, readMoney } from '../../src/sources/money.js';

const amountOf = (value: unknown, currency?: string): string => {
  const read = readAmount(value, currency);
  return read.kind === 'read' ? stringifyJson(read.amount) : read.kind;
};

describe('readAmount', () => {
  it.each([
    ['12.00', '12'],
    [' 12.00 ', '12'],
    ['.99', '0.99'],
    ['00012.50', '12.5'],
    ['+12', '12'],
    ['-12.5', '-12.5'],
    ['\u221212.5', '-12.5'],
    ['1299.995', '1299.995'],
    ['0.995', '0.995'],
    ['34.0000', '34'],
  ])('reads the plain numeral %j', (text, amount) => {
    expect(amountOf(text)).toBe(amount);
  });

  it.each([
    ['1,299.00', '1299'],
    ['1.299,00', '1299'],
    ['1 299,00', '1299'],
    ['1\u00a0299,00', '1299'],
    ['1\u202f299,00', '1299'],
    ["1'299.00", '1299'],
    ['1\u2019299.00', '1299'],
    ['1,234,567', '1234567'],
    ['1.234.567', '1234567'],
    ['1,29,900.00', '129900'],
    ['12,5', '12.5'],
    ['12,50', '12.5'],
    ['1 299', '1299'],
  ])('reads %j, whose separators are unambiguous', (text, amount) => {
    expect(amountOf(text)).toBe(amount);
  });

  it.each(['1,299', '1.299', '12.995', '1,234,56', '12 34', '1.2.3', '1,2.3,4', '12.34.567'])(
    'does not read %j, whose separators are ambiguous or invalid',
    (text) => {
      expect(amountOf(text)).toBe('unreadable');
    },
  );

  it('reads three decimals in a currency that has thousandths', () => {
    expect(amountOf('1.299', 'KWD')).toBe('1.299');
    expect(amountOf('KWD 1.299')).toBe('1.299');
  });

  it.each([
    ['$12.00', 'USD', '12'],
    ['-$12.00', 'USD', '-12'],
    ['$-12.00', 'CAD', '-12'],
    ['12,50 €', undefined, '12.5'],
    ['€ 1.234,56', 'EUR', '1234.56'],
    ['US$12', undefined, '12'],
    ['R$ 1.234,56', undefined, '1234.56'],
    ['12 kr', 'SEK', '12'],
    ['12.50 zł', 'PLN', '12.5'],
    ['\uffe5 1200', 'JPY', '1200'],
    ['1,299.00 usd', undefined, '1299'],
    ['$ 1,299.50 USD', undefined, '1299.5'],
  ])('reads %j beside the currency %s', (text, currency, amount) => {
    expect(amountOf(text, currency)).toBe(amount);
  });

  it.each([
    ['12.00 USD', 'USD'],
    ['€12', 'EUR'],
    ['CHF 12', 'CHF'],
    ['$12', undefined],
    ['12 kr', undefined],
    ['£12', undefined],
  ])('reads the currency in the text %j: %s', (text, currency) => {
    expect(readAmount(text)).toMatchObject({ kind: 'read', currency });
  });

  it.each([
    ['$12.00', 'EUR'],
    ['12.00 USD', 'CAD'],
    ['€12', 'USD'],
    ['12.00 USD EUR', undefined],
  ])('does not read %j beside the different currency %s', (text, currency) => {
    expect(amountOf(text, currency)).toBe('unreadable');
  });

  it.each([
    'abc',
    '12.',
    '1e3',
    '(12.00)',
    '12.00/month',
    '12%',
    '12-',
    '--12',
    '1-2',
    'XYZ 12',
    '\u0661\u0662',
    '9'.repeat(100),
    true,
    { amount: 12 },
    [12],
  ])('does not read %j', (value) => {
    expect(amountOf(value)).toBe('unreadable');
  });

  it.each([undefined, null, '', '  '])('treats %j as absent', (value) => {
    expect(amountOf(value)).toBe('absent');
  });

  it('keeps every digit of an integer', () => {
    const parsed = parseJson('9007199254740993');
    expect(amountOf(parsed.ok && parsed.value)).toBe('9007199254740993');
    expect(amountOf('9007199254740993.00')).toBe('9007199254740993');
  });
});

describe('readMoney', () => {
  const at = (value: unknown, currency?: unknown) =>
    readMoney(
      { value, pointer: '/properties/revenue' },
      { value: currency, pointer: '/properties/currency' },
    );

  it('returns the value and the currency in upper case without a warning', () => {
    expect(at('$12.00', ' usd ')).toEqual({ fields: { value: 12, currency: 'USD' }, warnings: [] });
  });

  it('warns about an unreadable amount and returns no value', () => {
    expect(at('12 or so', 'USD')).toMatchObject({
      fields: { currency: 'USD' },
      warnings: [{ code: 'unreadable_amount', pointer: '/properties/revenue' }],
    });
  });

  it('warns about an invalid currency', () => {
    expect(at(12, 'dollars')).toMatchObject({
      fields: { value: 12 },
      warnings: [{ code: 'unreadable_currency', pointer: '/properties/currency' }],
    });
  });

  it('warns about a value without a currency', () => {
    expect(at(12)).toMatchObject({ fields: { value: 12 }, warnings: [{ code: 'no_currency' }] });
    expect(at('$12')).toMatchObject({ fields: { value: 12 }, warnings: [{ code: 'no_currency' }] });
  });

  it('uses the currency in the text of the amount', () => {
    expect(at('12.00 EUR')).toEqual({ fields: { value: 12, currency: 'EUR' }, warnings: [] });
  });

  it('returns no warning for an absent amount', () => {
    expect(at(undefined, 'USD')).toEqual({ fields: { currency: 'USD' }, warnings: [] });
  });
});
