/**
 * From a row of CSV or NDJSON to the entry that is posted, with the options of the user applied.
 */

import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { toPointer } from '../ingest/validation.js';
import { ExactInteger, isJsonObject, parseJson, type JsonObject } from '../json/json.js';
import { assemble, type Columns, type ReadEntry } from './columns.js';
import { readConstants } from './mapping.js';
import type { Mapping } from './mapping.js';
import type { Path } from './fields.js';
import type { Row } from './row.js';

/** The content of a row. */
export type RowContent =
  | ({ readonly kind: 'entry' } & ReadEntry)
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

/** For NDJSON. Adds the fields of `--set` and converts `event_time` if options describe times. */
export function createReadObject(mapping: Mapping, lane: Lane): ReadRow {
  const constants = readConstants(mapping, lane);
  const readsTime = mapping.hasTimeOptions && lane === 'events';
  if (constants.length === 0 && !readsTime) return readAsText;
  return ({ text }) => {
    const parsed = parseJson(text);
    if (!parsed.ok || parsed.issues.length > 0 || !isJsonObject(parsed.value)) {
      return { kind: 'text' };
    }
    const entry = parsed.value;
    const errors: Issue[] = constants
      .filter(({ path }) => isFilledCell(entry, path))
      .map(({ path, from }) => ({ pointer: toPointer(path), detail: `is also set by ${from}` }));
    const time = readsTime ? toTimeText(entry.event_time) : null;
    const read = time === null ? null : mapping.readTime(time.trim());
    if (read?.ok === false) errors.push({ pointer: '/event_time', detail: read.detail });
    if (errors.length > 0) return { kind: 'entry', entry, errors };
    const timed = read?.ok === true ? { ...entry, event_time: read.value } : entry;
    return { kind: 'entry', entry: assemble(constants, timed), errors };
  };
}

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
