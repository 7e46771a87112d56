/**
 * From the text of a cell to the value of a field: text, code, identifier, number, object, time or
 * amount, by the field's name.
 */

import { isJsonObject, parseJson } from '../json/json.js';
import type { ReadAmount } from './amounts.js';
import { consentDateNames, consentNames, readConsent } from './consents.js';
import { type ImportLane, isField, objectFields, type Path } from './fields.js';
import type { CellValue, ReadTime } from './times.js';

/**
 * Returns the value of the field, or undefined if the cell is empty, which makes the field absent.
 * `currency`: the ISO 4217 code of the entry, if it has one.
 */
export type ReadCell = (cell: string, currency?: string) => CellValue | undefined;

export type CellRules = {
  readonly readTime: ReadTime;
  readonly readAmount: ReadAmount;
  /** Texts that mean an empty cell. */
  readonly empty: readonly string[];
};

/** Cells of fields are trimmed. Cells of properties are not. */
export function selectReadCell(path: Path, lane: ImportLane, rules: CellRules): ReadCell {
  const read = selectRead(path, lane, rules);
  const { empty } = rules;
  const isProperty = path.length === 1 ? !isField(path[0], lane) : path[0] === 'properties';
  return (cell, currency) => {
    const text = isProperty ? cell : cell.trim();
    return text === '' || empty.includes(text.trim()) ? undefined : read(text, currency);
  };
}

type Read = (text: string, currency: string | undefined) => CellValue;

function selectRead(
  [name, part]: Path,
  lane: ImportLane,
  { readTime, readAmount }: CellRules,
): Read {
  if (part !== undefined) {
    if (name === 'properties') return readProperty;
    return part === 'zip' ? readCode : readPlainText;
  }
  if (!isField(name, lane)) return readProperty;
  if (objectFields.includes(name)) return readObject;
  if (name === 'event_time' || consentDateNames.includes(name)) return readTime;
  if (consentNames.includes(name)) return readConsent;
  if (amountFields.includes(name)) return readAmount;
  if (ids.includes(name)) return readIdentifier;
  return name === 'phone_number' || name === 'order_id' ? readCode : readPlainText;
}

export const amountFields: readonly string[] = ['value', 'total_amount'];
/**
 * Identifiers. The same wrong text in many rows would merge many people, or many events, into one.
 */
const ids = ['distinct_id', 'anonymous_id', 'insert_id'];

const toCellValue = (value: unknown): CellValue => ({ ok: true, value });
const readPlainText: Read = toCellValue;

/** Spreadsheets, and exports made for them, put an apostrophe before digits that are text. */
const textMark = /^'(?=[+\d][\d\s().-]*$)/;
const readCode: Read = (text) => toCellValue(text.replace(textMark, ''));

const rounded = /^\d+(?:[.,]\d+)?E\+?\d+$/i;
const spreadsheetError = /^#(?:N\/A|REF!|VALUE!|NAME\?|DIV\/0!|NULL!|NUM!|#*)$/i;
const nothing = /^(?:null|nil|none|undefined|nan|n\/a|\\N)$/i;

function readIdentifier(text: string, currency: string | undefined): CellValue {
  if (rounded.test(text)) {
    const detail =
      'is a number that a spreadsheet has rounded, such as 1.23E+12: export the column as text';
    return { ok: false, detail };
  }
  if (spreadsheetError.test(text)) return { ok: false, detail: 'is a spreadsheet error' };
  if (nothing.test(text)) {
    const detail = `is a word for an empty value: if it means an empty cell, use --empty "${text}"`;
    return { ok: false, detail };
  }
  return readCode(text, currency);
}

/** Without an exponent, because `1E5` may be a name. */
const plainNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;
/** A double represents this many decimal digits exactly. */
const exactDigits = 15;

/** A custom property is a number if it looks like one and converts without loss. `007` is text. */
function readProperty(text: string): CellValue {
  const isExact = !text.includes('.') || text.replace(/\D/g, '').length <= exactDigits;
  return toCellValue(plainNumber.test(text) && isExact ? readCellValue(text) : text);
}

function readObject(text: string): CellValue {
  const value = readCellValue(text);
  return toCellValue(isJsonObject(value) ? value : text);
}

function readCellValue(text: string): unknown {
  const parsed = parseJson(text);
  return parsed.ok && parsed.issues.length === 0 ? parsed.value : text;
}
