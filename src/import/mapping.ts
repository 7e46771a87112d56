import { entryNames } from '../ingest/schema.js';
import { findNearName } from '../near-name.js';
import { selectReadCell } from './cells.js';
import type { CellRules } from './cells.js';
import { type ImportLane, listFieldNames, findPath } from './fields.js';
import type { Path } from './fields.js';
import { ImportError } from './import-error.js';

/** The options that describe the fields of an entry, in addition to what the input contains. */
export type Mapping = CellRules & {
  /** `--map`: from a column of CSV to a field. */
  readonly columns: readonly { readonly column: string; readonly field: string }[];
  /** `--set`: from a field to the text of its value in every entry. */
  readonly constants: readonly { readonly field: string; readonly text: string }[];
  /** `--omit`: columns that are left out. */
  readonly omitted: readonly string[];
  /** Returns true if an option describes times, so that `readTime` applies to NDJSON too. */
  readonly hasTimeOptions: boolean;
  /** All of these options as given. A resumed import must have the same ones. */
  readonly flags: readonly string[];
};

/** Throws ImportError if the lane has no such field. `option` is named in the message. */
export function requirePath(option: string, field: string, lane: ImportLane): Path {
  const path = findPath(field, lane);
  if (path !== null) return path;
  const near = findNearName(field, listFieldNames(lane));
  const other = lane === 'subscribe' ? '' : '; for a property use properties.NAME';
  const hint = near === null ? other : `; did you mean ${near}?`;
  throw new ImportError(`${option}: ${field} is not a field of ${entryNames[lane].many}${hint}`);
}

/** A field with the same value in every entry. */
export type Constant = {
  readonly path: Path;
  readonly value: unknown;
  /** The currency that an amount names. */
  readonly currency?: string | undefined;
  /** The option, for messages. */
  readonly from: string;
};

/** Reads each value as a cell of CSV. Throws ImportError if a field or its value is invalid. */
export function readConstants(mapping: Mapping, lane: ImportLane): readonly Constant[] {
  return mapping.constants.map(({ field, text }) => {
    const option = `--set ${field}`;
    const path = requirePath(option, field, lane);
    const read = selectReadCell(path, lane, mapping)(text);
    if (read === undefined) throw new ImportError(`${option} has an empty value`);
    if (!read.ok) throw new ImportError(`${option}: the value ${read.detail}`);
    return { path, value: read.value, currency: read.currency, from: option };
  });
}
