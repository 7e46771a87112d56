import { hash } from 'node:crypto';
import type { Fault, Lane } from '../envelope.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json.js';
import type { ToEntry } from './columns.js';
import type { Row } from './row.js';

/** A row, ready to be posted. */
export type Prepared = Pick<Row, 'line' | 'lastLine' | 'end'> & {
  /** One line of JSON; null where the row is refused here. */
  readonly body: string | null;
  /** Bytes of `body`. */
  readonly bytes: number;
  /** Why, where it is. */
  readonly errors: readonly Fault[];
  /** As it came: of CSV, the entry it comes to. Text that need not be JSON. */
  readonly original: string;
};

export type Prepare = (row: Row) => Prepared;

/** 132 of SHA-256's 256 bits: two events alike by chance are out of reach. */
const idChars = 22;

/**
 * An event without an id gets one that any later import of the same line makes again, so that
 * the relay and Klaviyo see a repeat where a crash came between an answer and its note.
 */
function toInsertId({ line, text }: Row): string {
  return `import-${hash('sha256', `${line}:${text}`, 'base64url').slice(0, idChars)}`;
}

export function createPrepare(
  lane: Lane,
  columns: { toEntry: ToEntry; count: number } | null,
): Prepare {
  return (row) => {
    if (row.fault !== null) return toRefused(row, row.fault);
    if (columns === null)
      return toPrepared(row, lane === 'events' ? nameEvent(row) : row.text, row.text);
    if (row.cells.length !== columns.count) {
      return toRefused(row, `has ${row.cells.length} cells, and the header ${columns.count}`);
    }
    const entry = columns.toEntry(row.cells);
    const named = lane === 'events' ? withInsertId(entry, row) : entry;
    return toPrepared(row, stringifyJson(named), stringifyJson(entry));
  };
}

function toPrepared({ line, lastLine, end }: Row, body: string, original: string): Prepared {
  return { line, lastLine, end, body, bytes: Buffer.byteLength(body), errors: [], original };
}

function toRefused({ line, lastLine, end, text }: Row, detail: string): Prepared {
  const errors = [{ pointer: '', detail }];
  return { line, lastLine, end, body: null, bytes: 0, errors, original: text };
}

/** As it came where the relay will refuse it anyway, or where it has an id. */
function nameEvent(row: Row): string {
  const parsed = parseJson(row.text);
  if (!parsed.ok || parsed.faults.length > 0 || !isJsonObject(parsed.value)) return row.text;
  const named = withInsertId(parsed.value, row);
  return named === parsed.value ? row.text : stringifyJson(named);
}

function withInsertId(entry: JsonObject, row: Row): JsonObject {
  return entry.insert_id == null ? { ...entry, insert_id: toInsertId(row) } : entry;
}
