import { hash } from 'node:crypto';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';
import type { ReadRow } from './read-row.js';
import type { Row } from './row.js';

/** A row, ready to be posted. */
export type Prepared = Pick<Row, 'line' | 'lastLine' | 'end'> & {
  /** One line of JSON; null where the row is refused here. */
  readonly body: string | null;
  /** Bytes of `body`. */
  readonly bytes: number;
  /** Why, where it is. */
  readonly errors: readonly Issue[];
  /** As it came: of CSV, the entry it comes to. Text that need not be JSON. */
  readonly original: string;
};

/** Null: there is nothing in the row. */
export type Prepare = (row: Row) => Prepared | null;

/** 132 of SHA-256's 256 bits: two events alike by chance are out of reach. */
const idChars = 22;

/**
 * An event without an id gets one that any later import of the same line makes again, so that
 * the relay and Klaviyo see a repeat where a crash came between an answer and its note.
 */
function toInsertId({ line, text }: Row): string {
  return `import-${hash('sha256', `${line}:${text}`, 'base64url').slice(0, idChars)}`;
}

export function createPrepare(lane: Lane, readRow: ReadRow): Prepare {
  return (row) => {
    if (row.fault !== null) return toRefused(row, toFaults(row.fault), row.text);
    const content = readRow(row);
    switch (content.kind) {
      case 'blank':
        return null;
      case 'fault':
        return toRefused(row, toFaults(content.detail), row.text);
      case 'text':
        return toPrepared(row, lane === 'events' ? nameEvent(row) : row.text, row.text);
      case 'entry': {
        const { entry, errors } = content;
        const original = stringifyJson(entry);
        if (errors.length > 0) return toRefused(row, errors, original);
        const named = lane === 'events' ? withInsertId(entry, row) : entry;
        return toPrepared(row, named === entry ? original : stringifyJson(named), original);
      }
    }
  };
}

const toFaults = (detail: string): readonly Issue[] => [{ pointer: '', detail }];

function toPrepared({ line, lastLine, end }: Row, body: string, original: string): Prepared {
  return { line, lastLine, end, body, bytes: Buffer.byteLength(body), errors: [], original };
}

function toRefused(
  { line, lastLine, end }: Row,
  errors: readonly Issue[],
  original: string,
): Prepared {
  return { line, lastLine, end, body: null, bytes: 0, errors, original };
}

/** As it came where the relay will refuse it anyway, or where it has an id. */
function nameEvent(row: Row): string {
  const parsed = parseJson(row.text);
  if (!parsed.ok || parsed.issues.length > 0 || !isJsonObject(parsed.value)) return row.text;
  const named = withInsertId(parsed.value, row);
  return named === parsed.value ? row.text : stringifyJson(named);
}

function withInsertId(entry: JsonObject, row: Row): JsonObject {
  return entry.insert_id == null ? { ...entry, insert_id: toInsertId(row) } : entry;
}
