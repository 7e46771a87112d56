/**
 * From the text of an amount to a number. An ambiguous text is an error and is never guessed.
 */

import { parseJson } from '../json/json.js';
import { readAmount } from '../sources/money.js';
import type { CellValue } from './times.js';

/** The decimal separator of amounts. Null: each amount must be unambiguous by itself. */
export type DecimalSign = '.' | ',' | null;

/** Returns an amount as the value of a field, with the currency in its text. */
export type ReadAmount = (text: string, currency: string | undefined) => CellValue;

/** RFC 8259, section 6, with an exponent. It has only one meaning. */
const withExponent = /^-?(?:0|[1-9]\d*)(?:\.\d+)?[eE][-+]?\d+$/;

/** `currency`, when it reads: the ISO 4217 code of the amount's entry. */
export function createAmountReader(decimal: DecimalSign): ReadAmount {
  return (text, currency) => {
    if (withExponent.test(text)) return readExponent(text);
    const written = decimal === null ? text : normalizeAmount(text, decimal);
    if (written === null) {
      return { ok: false, detail: `does not have ${decimal ?? ''} as its decimal separator` };
    }
    const read = readAmount(written, currency);
    if (read.kind === 'read') return { ok: true, value: read.amount, currency: read.currency };
    const detail = read.kind === 'absent' ? 'is not an amount' : read.detail;
    const isOpen = decimal === null && /\d[.,]\d/.test(text);
    const hint = isOpen ? '; specify the decimal separator with --decimal . or --decimal ,' : '';
    return { ok: false, detail: `${detail}${hint}` };
  };
}

function readExponent(text: string): CellValue {
  const parsed = parseJson(text);
  return parsed.ok && parsed.issues.length === 0
    ? { ok: true, value: parsed.value }
    : { ok: false, detail: 'is a number that is too large' };
}

/** Returns the same amount in an unambiguous spelling, or null if it has another form. */
function normalizeAmount(text: string, decimal: '.' | ','): string | null {
  const group = decimal === '.' ? ',' : '.';
  const [whole = '', decimals, ...others] = text.split(decimal);
  // Thousands are in groups of three digits, or of two before the last three as in India.
  const groups = whole.split(group).slice(1);
  const last = groups.pop();
  const isGrouped =
    groups.every((digits) => /^\d{2,3}$/.test(digits)) &&
    (last === undefined || /^\d{3}(?!\d)/.test(last));
  if (others.length > 0 || !isGrouped || decimals?.includes(group) === true) return null;
  const plain = whole.replaceAll(group, '');
  // Three decimals look like a group of thousands; four do not.
  return decimals === undefined
    ? plain
    : `${plain}.${decimals.replace(/^\d{3}(?!\d)/, (digits) => `${digits}0`)}`;
}
