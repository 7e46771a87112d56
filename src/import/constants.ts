import type { Lane } from '../model/lane.js';
import { selectReadCell } from './cells.js';
import type { Path } from './fields.js';
import { ImportError } from './import-error.js';
import { requirePath, type Mapping } from './mapping.js';

/** A field that has one value in all entries. */
export type Constant = {
  readonly path: Path;
  readonly value: unknown;
  /** The one that an amount names. */
  readonly currency?: string | undefined;
  /** For a person. */
  readonly from: string;
};

/** Read as a cell of CSV would be. Throws ImportError where a field or its value cannot be meant. */
export function toConstants(mapping: Mapping, lane: Lane): readonly Constant[] {
  return mapping.constants.map(({ field, text }) => {
    const option = `--set ${field}`;
    const path = requirePath(option, field, lane);
    const read = selectReadCell(path, lane, mapping)(text);
    if (read === undefined) throw new ImportError(`${option} has an empty value`);
    if (!read.ok) throw new ImportError(`${option}: the value ${read.detail}`);
    return { path, value: read.value, currency: read.currency, from: option };
  });
}
