import { hash } from 'node:crypto';
import { toPointer } from '../ingest/validation.js';
import {
  ExactInteger,
  isJsonObject,
  type JsonObject,
  parseJson,
  stringifyJson,
} from '../json/json.js';
import type { Issue } from '../model/outcome.js';
import { assemble, type Columns, type ReadEntry } from './columns.js';
import { consentDateNames, consentNames } from './consents.js';
import { type ImportLane, type Path, timeFields } from './fields.js';
import { ImportError } from './import-error.js';
import { type Mapping, readConstants } from './mapping.js';
import type { Row } from './rows.js';

/**
 * From a row to the line of JSON that is posted: a `ReadRow` makes an entry of it, with the options
 * of the user applied, and `createPrepare` adds an id to events and rejects what cannot be posted.
 */

/** An entry of a row, ready to be posted. */
export type Prepared = Pick<Row, 'line'> & {
  /** One line of JSON; null if the import itself rejects or skips the entry. */
  readonly body: string | null;
  /** Bytes of `body`. */
  readonly bytes: number;
  /** Why the entry is rejected; empty if it is not. */
  readonly errors: readonly Issue[];
  /** True for a person who did not consent. Nothing is posted. */
  readonly isSkipped: boolean;
  /** The row as read; for CSV, the entry made from it. It need not be JSON. */
  readonly original: string;
};

/** Returns no entry for an empty row. */
export type Prepare = (row: Row) => readonly Prepared[];

/** An entry of a row that can have several. */
export type RowEntry = ReadEntry & { readonly isSkipped?: boolean };

/** The content of a row. */
export type RowContent =
  | ({ readonly kind: 'entry' } & ReadEntry)
  | { readonly kind: 'entries'; readonly entries: readonly RowEntry[] }
  /** The text is posted as it is. The relay validates it. */
  | { readonly kind: 'text' }
  /** All cells are empty. */
  | { readonly kind: 'blank' }
  | { readonly kind: 'fault'; readonly detail: string };

export type ReadRow = (row: Row) => RowContent;

export const readAsText: ReadRow = () => ({ kind: 'text' });

/** For CSV. */
export function createReadCells({ count, read }: Columns): ReadRow {
  return ({ cells }) => {
    if (cells.every((cell) => cell.trim() === '')) return { kind: 'blank' };
    if (cells.length < count) {
      return { kind: 'fault', detail: `has ${cells.length} cells, but the header has ${count}` };
    }
    const extra = cells.findIndex((cell, at) => at >= count && cell.trim() !== '');
    if (extra !== -1) {
      const detail = `has content in cell ${extra + 1}, but the header has ${count} columns`;
      return { kind: 'fault', detail };
    }
    return { kind: 'entry', ...read(cells) };
  };
}

/**
 * For NDJSON. Adds the fields of `--set`, converts the time if options describe times, and makes
 * subscriptions historical.
 */
export function createReadObject(mapping: Mapping, lane: ImportLane): ReadRow {
  const constants = [...readConstants(mapping, lane)];
  const forCsv = constants.find(({ path: [name] }) => isConsentField(name));
  if (forCsv !== undefined) {
    throw new ImportError(
      `${forCsv.from} is for CSV: in NDJSON each line has channels and consented_at`,
    );
  }
  const timeField = mapping.hasTimeOptions ? timeFields[lane] : null;
  const isHistorical = lane === 'subscribe';
  if (constants.length === 0 && timeField === null && !isHistorical) return readAsText;
  return ({ text }) => {
    const parsed = parseJson(text);
    if (!parsed.ok || parsed.issues.length > 0 || !isJsonObject(parsed.value)) {
      return { kind: 'text' };
    }
    const given = parsed.value;
    const read = timeField === null ? null : readObjectTime(given, timeField, mapping);
    const errors: Issue[] = constants
      .filter(({ path }) => isFilledCell(given, path))
      .map(({ path, from }) => ({ pointer: toPointer(path), detail: `is also set by ${from}` }));
    errors.push(...(read?.errors ?? []));
    if (isHistorical && (given.historical ?? true) !== true) {
      errors.push({ pointer: '/historical', detail: 'must be true in an import' });
    }
    if (errors.length > 0) return { kind: 'entry', entry: given, errors };
    const entry = { ...(read?.entry ?? given), ...(isHistorical && { historical: true }) };
    return { kind: 'entry', entry: assemble(constants, entry), errors };
  };
}

function readObjectTime(entry: JsonObject, field: string, { readTime }: Mapping): ReadEntry {
  const text = toTimeText(entry[field]);
  if (text === null) return { entry, errors: [] };
  const read = readTime(text.trim());
  return read.ok
    ? { entry: { ...entry, [field]: read.value }, errors: [] }
    : { entry, errors: [{ pointer: `/${field}`, detail: read.detail }] };
}

const isConsentField = (name: string): boolean =>
  consentNames.includes(name) || consentDateNames.includes(name);

function isFilledCell(entry: JsonObject, [name, part]: Path): boolean {
  const value = entry[name];
  if (part === undefined) return value != null;
  return isJsonObject(value) && value[part] !== undefined;
}

function toTimeText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  return value instanceof ExactInteger ? value.digits : null;
}

export function createPrepare(lane: ImportLane, readRow: ReadRow): Prepare {
  return (row) => {
    if (row.fault !== null) return [createRejected(row, createRowIssues(row.fault), row.text)];
    const content = readRow(row);
    switch (content.kind) {
      case 'blank':
        return [];
      case 'fault':
        return [createRejected(row, createRowIssues(content.detail), row.text)];
      case 'text':
        return [createPrepared(row, lane === 'events' ? addInsertId(row) : row.text, row.text)];
      case 'entry':
        return [prepareEntry(content, row, lane)];
      case 'entries':
        return content.entries.map((entry) => prepareEntry(entry, row, lane));
    }
  };
}

function prepareEntry(
  { entry, errors, isSkipped }: RowEntry,
  row: Row,
  lane: ImportLane,
): Prepared {
  const original = stringifyJson(entry);
  if (isSkipped === true) return { ...createRejected(row, [], original), isSkipped };
  if (errors.length > 0) return createRejected(row, errors, original);
  const named = lane === 'events' ? withInsertId(entry, row) : entry;
  return createPrepared(row, named === entry ? original : stringifyJson(named), original);
}

const createRowIssues = (detail: string): readonly Issue[] => [{ pointer: '', detail }];

function createPrepared({ line }: Row, body: string, original: string): Prepared {
  return { line, body, bytes: Buffer.byteLength(body), errors: [], isSkipped: false, original };
}

function createRejected({ line }: Row, errors: readonly Issue[], original: string): Prepared {
  return { line, body: null, bytes: 0, errors, isSkipped: false, original };
}

/** Unchanged if the relay will reject it anyway or it has an id. */
function addInsertId(row: Row): string {
  const parsed = parseJson(row.text);
  if (!parsed.ok || parsed.issues.length > 0 || !isJsonObject(parsed.value)) return row.text;
  const named = withInsertId(parsed.value, row);
  return named === parsed.value ? row.text : stringifyJson(named);
}

function withInsertId(entry: JsonObject, row: Row): JsonObject {
  return entry.insert_id == null ? { ...entry, insert_id: deriveInsertId(row) } : entry;
}

/** 132 of SHA-256's 256 bits make accidental collisions of events practically impossible. */
const idChars = 22;

/**
 * An event without an id gets one that a repeated import of the same line derives again. After a
 * crash between the response and the progress record, the relay and Klaviyo then recognise the
 * repeat.
 */
function deriveInsertId({ line, text }: Row): string {
  return `import-${hash('sha256', `${line}:${text}`, 'base64url').slice(0, idChars)}`;
}
