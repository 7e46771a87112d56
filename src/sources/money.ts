import { isCurrency, type Numeral } from '../ingest/schema.js';
import type { SourceWarning } from '../ingest/source-entry.js';
import { ExactInteger } from '../json/json.js';

/**
 * Reads amounts of money as other systems write them: JSON numbers, numerals as text, and formatted
 * text such as `$1,299.00`. An amount that can be read in two ways is unreadable.
 */

export type Amount =
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'read';
      readonly amount: Numeral;
      /** The ISO 4217 code in the text itself, or the only currency that its sign stands for. */
      readonly currency?: string | undefined;
    }
  | { readonly kind: 'unreadable'; readonly detail: string };

/**
 * Signs and the currencies that use them. A sign of one currency determines the currency; a sign of
 * several only limits it.
 */
const signs: ReadonlyMap<string, readonly string[]> = new Map([
  [
    '$',
    'USD CAD AUD NZD HKD SGD TWD MXN ARS CLP COP UYU DOP BBD BMD BSD BZD FJD GYD JMD KYD LRD NAD SBD SRD TTD XCD BND'.split(
      ' ',
    ),
  ],
  ['US$', ['USD']],
  ['CA$', ['CAD']],
  ['C$', ['CAD', 'NIO']],
  ['A$', ['AUD']],
  ['AU$', ['AUD']],
  ['NZ$', ['NZD']],
  ['HK$', ['HKD']],
  ['S$', ['SGD']],
  ['NT$', ['TWD']],
  ['MX$', ['MXN']],
  ['R$', ['BRL']],
  ['€', ['EUR']],
  ['£', 'GBP EGP FKP GIP SHP SSP LBP SYP'.split(' ')],
  ['¥', ['JPY', 'CNY']],
  ['₹', ['INR']],
  ['₩', ['KRW', 'KPW']],
  ['₽', ['RUB']],
  ['₺', ['TRY']],
  ['₴', ['UAH']],
  ['₪', ['ILS']],
  ['₫', ['VND']],
  ['₱', ['PHP']],
  ['₦', ['NGN']],
  ['₡', ['CRC']],
  ['₲', ['PYG']],
  ['₵', ['GHS']],
  ['₸', ['KZT']],
  ['₼', ['AZN']],
  ['₾', ['GEL']],
  ['฿', ['THB']],
  ['zł', ['PLN']],
  ['kr', 'SEK NOK DKK ISK'.split(' ')],
  ['kr.', 'DKK NOK SEK ISK'.split(' ')],
  ['Kč', ['CZK']],
  ['Ft', ['HUF']],
  ['lei', ['RON', 'MDL']],
  ['R', ['ZAR']],
  ['Rp', ['IDR']],
  ['RM', ['MYR']],
  ['Fr.', ['CHF']],
  ['S/', ['PEN']],
]);

/** Currencies with thousandths (ISO 4217): `1.299` in them has three decimals. */
const thousandths: ReadonlySet<string> = new Set('BHD IQD JOD KWD LYD OMR TND'.split(' '));

/** Maximum characters of an amount as text, so that a long text cannot keep the processor busy. */
const maxChars = 60;

/** Reads an amount. `currency`: the ISO 4217 code given beside the amount, if there is one. */
export function readAmount(value: unknown, currency?: string): Amount {
  if (typeof value === 'number' || value instanceof ExactInteger) {
    return { kind: 'read', amount: value };
  }
  if (typeof value === 'string' && value.trim() !== '') return readAmountText(value, currency);
  const isAbsent = value === undefined || value === null || typeof value === 'string';
  return isAbsent ? { kind: 'absent' } : unreadableAmount('is neither a number nor text');
}

function readAmountText(value: string, currency: string | undefined): Amount {
  const parts = splitAmountText(value);
  if (parts === null) return unreadableAmount('is no amount of money');
  const named = findPossibleCurrencies(parts.marks);
  if (named === null) return unreadableAmount('names no currency that is known, or two');
  if (currency !== undefined && named?.includes(currency) === false) {
    return unreadableAmount(`does not agree with the currency ${currency} beside it`);
  }
  const only = named?.length === 1 ? named[0] : undefined;
  const plain = normalizeSeparators(parts.digits, currency ?? only);
  if (plain === null) return unreadableAmount('can be read as two different amounts, or as none');
  return { kind: 'read', amount: parseNumeral(parts.sign + plain), currency: only };
}

type AmountParts = {
  readonly sign: '' | '-';
  /** Digits with their separators. */
  readonly digits: string;
  /** Signs and codes of currencies around the digits. */
  readonly marks: readonly string[];
};

/** Splits a text into sign, digits and currency marks. Null if it has another form. */
function splitAmountText(value: string): AmountParts | null {
  const text = value
    .normalize('NFKC')
    .replace(/[\u2212\u2013]/g, '-')
    .trim();
  if (text.length > maxChars) return null;
  const [, before = '', digits, after = ''] = amountPattern.exec(text) ?? [];
  const minuses = before.split('-').length - 1;
  if (digits === undefined || minuses > 1 || /[-+]/.test(after)) return null;
  const marks = `${before.replace(/[-+]/, ' ')} ${after}`.split(/\s+/).filter(Boolean);
  return { sign: minuses === 1 ? '-' : '', digits, marks };
}

/** An optional mark, digits with separators, an optional mark. */
const amountPattern = /^([^\d.,]{0,8}?)((?:\d|[.,](?=\d))(?:[\d.,' \u2019]*\d)?)([^\d.,]{0,8})$/u;

function unreadableAmount(detail: string): Amount {
  return { kind: 'unreadable', detail };
}

/**
 * The currencies that agree with all marks around an amount. Undefined if there is no mark; null if a
 * mark is unknown or the marks contradict each other.
 */
function findPossibleCurrencies(marks: readonly string[]): readonly string[] | undefined | null {
  let possible: readonly string[] | undefined;
  for (const mark of marks) {
    const code = mark.toUpperCase();
    const named = /^[A-Z]{3}$/.test(code) && isCurrency(code) ? [code] : findCurrenciesOfSign(mark);
    if (named === undefined) return null;
    possible = possible?.filter((each) => named.includes(each)) ?? named;
  }
  return possible?.length === 0 ? null : possible;
}

/** The currencies of a sign. Letters match in any case; NFKC has already replaced full-width signs. */
function findCurrenciesOfSign(word: string): readonly string[] | undefined {
  const exact = signs.get(word);
  if (exact !== undefined) return exact;
  const lower = word.toLowerCase();
  for (const [sign, codes] of signs) if (sign.toLowerCase() === lower) return codes;
  return undefined;
}

/**
 * Returns the digits with a decimal point and no other separator. Null if the text is ambiguous:
 * `1,299` and `1.299` can be more than a thousand, or a little more than one.
 */
function normalizeSeparators(text: string, currency: string | undefined): string | null {
  const digits = text.replace(/\u2019/g, "'");
  const [one, other, ...more] = [...new Set(digits.replace(/\d/g, ''))];
  if (one === undefined) return digits;
  if (more.length > 0) return null;
  if (other !== undefined) return joinDecimals(digits, { group: one, point: other });
  const [whole = '', decimals = '', ...groups] = digits.split(one);
  if (one === ' ' || one === "'" || groups.length > 0) return removeGroupSeparators(digits, one);
  const isLikeGroup = decimals.length === 3 && /^[1-9]\d{0,2}$/.test(whole);
  if (isLikeGroup && !(currency !== undefined && thousandths.has(currency))) return null;
  return `${whole === '' ? '0' : whole}.${decimals}`;
}

/** Two kinds of separators: the last one is the decimal point and occurs once. */
function joinDecimals(
  digits: string,
  { group, point }: { readonly group: string; readonly point: string },
): string | null {
  const [whole = '', decimals = '', ...others] = digits.split(point);
  if (others.length > 0 || !'.,'.includes(point) || decimals.includes(group)) return null;
  const plain = removeGroupSeparators(whole, group);
  return plain === null ? null : `${plain}.${decimals}`;
}

/** Removes the separators of groups of three digits, or of Indian groups (2, 2, 3). Null for other groups. */
function removeGroupSeparators(whole: string, group: string): string | null {
  const groups = whole.split(group);
  const [first = '', ...others] = groups;
  const lastGroup = others.at(-1) ?? '';
  const isWestern = others.every((each) => each.length === 3) && first.length <= 3;
  const isIndian =
    group === ',' &&
    others.length > 1 &&
    lastGroup.length === 3 &&
    others.slice(0, -1).every((each) => each.length === 2) &&
    first.length <= 2;
  return first !== '' && (isWestern || isIndian) ? groups.join('') : null;
}

/** Parses a decimal numeral as a JSON number. An integer keeps all its digits. */
export function parseNumeral(decimal: string): Numeral {
  const number = Number(decimal);
  const whole = decimal.replace(/\.0+$/, '');
  const isExact = whole.includes('.') || Number.isSafeInteger(number);
  return isExact ? number : new ExactInteger(whole.replace(/^(-?)0+(?=\d)/, '$1'));
}

/** Reads an ISO 4217 code in any case. `isUnreadable`: a value is present and is not a code. */
export function readCurrency(value: unknown): {
  readonly code: string | undefined;
  readonly isUnreadable: boolean;
} {
  if (value === undefined || value === null || value === '') {
    return { code: undefined, isUnreadable: false };
  }
  const code = typeof value === 'string' ? value.trim().toUpperCase() : '';
  if (code === '' && typeof value === 'string') return { code: undefined, isUnreadable: false };
  return isCurrency(code) ? { code, isUnreadable: false } : { code: undefined, isUnreadable: true };
}

/** The fields of an event that hold money, and warnings about what could not be read. */
export type MoneyReading = {
  readonly fields: { readonly value?: Numeral; readonly currency?: string };
  readonly warnings: readonly SourceWarning[];
};

/** A value and its JSON Pointer in the source's request, for warnings. */
export type LocatedValue = { readonly value: unknown; readonly pointer: string };

/**
 * Reads `value` and `currency` of an event from an amount and the currency beside it. An unreadable
 * amount gives a warning and no value. An amount without a currency gives its value and a warning,
 * because Klaviyo counts it in the currency of the account.
 */
export function readMoney(amount: LocatedValue, currency: LocatedValue): MoneyReading {
  const { code, isUnreadable } = readCurrency(currency.value);
  const read = readAmount(amount.value, code);
  const warnings: SourceWarning[] = [];
  if (isUnreadable) {
    const detail = 'is no ISO 4217 code; it stays as a property';
    warnings.push({ code: 'unreadable_currency', pointer: currency.pointer, detail });
  }
  if (read.kind === 'unreadable') {
    const detail = `${read.detail}; it stays as a property, and the event has no value`;
    warnings.push({ code: 'unreadable_amount', pointer: amount.pointer, detail });
  }
  if (read.kind !== 'read')
    return { fields: code === undefined ? {} : { currency: code }, warnings };
  const known = code ?? read.currency;
  if (known === undefined && !isUnreadable) {
    const detail =
      'has no currency beside it: Klaviyo counts the value in the currency of the account';
    warnings.push({ code: 'no_currency', pointer: amount.pointer, detail });
  }
  return {
    fields: { value: read.amount, ...(known !== undefined && { currency: known }) },
    warnings,
  };
}
