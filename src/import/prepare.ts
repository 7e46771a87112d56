import { hash } from 'node:crypto';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';
import type { ReadRow } from './read-row.js';
import type { Row } from './row.js';

/** A row, ready to be posted. */
export type Prepared = Pick<Row, 'line' | 'lastLine' | 'end'> & {
  /** One line of JSON; null if the import itself rejects the row. */
  readonly body: string | null;
  /** Bytes of `body`. */
  readonly bytes: number;
  /** Why the row is rejected; empty if it is not. */
  readonly errors: readonly Issue[];
  /** The row as read; for CSV, the entry made from it. It need not be JSON. */
  readonly original: string;
};

/** Returns null for an empty row. */
export type Prepare = (row: Row) => Prepared | null;

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

export function createPrepare(lane: Lane, readRow: ReadRow): Prepare {
  return (row) => {
    if (row.fault !== null) return createRejected(row, createRowIssues(row.fault), row.text);
    const content = readRow(row);
    switch (content.kind) {
      case 'blank':
        return null;
      case 'fault':
        return createRejected(row, createRowIssues(content.detail), row.text);
      case 'text':
        return createPrepared(row, lane === 'events' ? addInsertId(row) : row.text, row.text);
      case 'entry': {
        const { entry, errors } = content;
        const original = stringifyJson(entry);
        if (errors.length > 0) return createRejected(row, errors, original);
        const named = lane === 'events' ? withInsertId(entry, row) : entry;
        return createPrepared(row, named === entry ? original : stringifyJson(named), original);
      }
    }
  };
}

const createRowIssues = (detail: string): readonly Issue[] => [{ pointer: '', detail }];

function createPrepared({ line, lastLine, end }: Row, body: string, original: string): Prepared {
  return { line, lastLine, end, body, bytes: Buffer.byteLength(body), errors: [], original };
}

function createRejected(
  { line, lastLine, end }: Row,
  errors: readonly Issue[],
  original: string,
): Prepared {
  return { line, lastLine, end, body: null, bytes: 0, errors, original };
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
