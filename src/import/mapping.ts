import type { Lane } from '../model/lane.js';
import { findNearName } from '../near-name.js';
import type { CellRules } from './cells.js';
import { toFieldNames, toPath, type Path } from './fields.js';
import { ImportError } from './import-error.js';

/** What the user says of the fields of an entry, beyond what the input says itself. */
export type Mapping = CellRules & {
  /** `--map`, from a column of CSV to a field. */
  readonly columns: readonly { readonly column: string; readonly field: string }[];
  /** `--set`, from a field to the text of its value in all entries. */
  readonly constants: readonly { readonly field: string; readonly text: string }[];
  /** `--omit`: columns that become nothing. */
  readonly omitted: readonly string[];
  /** Whether `readTime` is for NDJSON, too: something is said of times. */
  readonly hasTimeOptions: boolean;
  /** All of these as the user gives them: what an import goes on with must be the same. */
  readonly flags: readonly string[];
};

/** Throws ImportError where the lane has no such field. `option`: where the user names it. */
export function requirePath(option: string, field: string, lane: Lane): Path {
  const path = toPath(field, lane);
  if (path !== null) return path;
  const near = findNearName(field, toFieldNames(lane));
  const hint = near === null ? ', and properties.NAME is a property' : `; did you mean ${near}?`;
  throw new ImportError(`${option}: ${field} is no field of ${lane}${hint}`);
}
