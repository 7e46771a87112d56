/**
 * From a record of CSV to an entry: which field each column becomes, by its header and the options
 * of the user, and how the cells of one record make up an entry.
 */

import type { Issue } from '../model/outcome.js';
import { toPointer } from '../ingest/validation.js';
import { identifierFields } from '../ingest/schema.js';
import { harmfulNames, isJsonObject, type JsonObject } from '../json/json.js';
import { findNearName } from '../near-name.js';
import { readCurrency } from '../sources/money.js';
import { selectReadCell, type ReadCell } from './cells.js';
import { checkConsentFields } from './consents.js';
import { requirePath, readConstants } from './mapping.js';
import type { Constant, Mapping } from './mapping.js';
import { type ImportLane, findField, objectFields, toPropertyPath, type Path } from './fields.js';
import { ImportError } from './import-error.js';

/**
 * An entry as a caller would post it. A value that cannot be read stays as text and is listed in
 * `errors`.
 */
export type ReadEntry = { readonly entry: JsonObject; readonly errors: readonly Issue[] };

export type Columns = {
  /** Number of columns, without unnamed ones at the end. */
  readonly count: number;
  /** The fields that each column becomes, for display. There may be none or several. */
  readonly targets: readonly { readonly column: string; readonly fields: readonly string[] }[];
  /** Expects as many cells as there are columns. */
  readonly read: (cells: readonly string[]) => ReadEntry;
};

type Target = {
  /** Index of the column. */
  readonly at: number;
  /** Name of the column, for messages. */
  readonly from: string;
  readonly path: Path;
  readonly read: ReadCell;
};

/** Throws ImportError if the header, or an option about its columns, cannot be right. */
export function createColumns(
  header: readonly string[],
  lane: ImportLane,
  mapping: Mapping,
): Columns {
  const names = readColumnNames(header);
  const targets = mapColumns(names, lane, mapping);
  const constants = readConstants(mapping, lane);
  checkTargets(targets, constants);
  const given = [...targets, ...constants].flatMap(({ path }) => (path.length === 1 ? path : []));
  const identifiers: readonly string[] = identifierFields[lane];
  if (!identifiers.some((name) => given.includes(name))) {
    throw new ImportError(
      `the header has no ${identifiers.slice(0, -1).join(', ')} or ${identifiers.at(-1) ?? ''}; its columns are ${names.slice(0, 10).join(' | ')}` +
        (names.length === 1
          ? '. Is --delimiter right?'
          : `. Name the column, as in --map "${names[0] ?? ''}=email"`),
    );
  }
  if (lane === 'events' && !given.includes('event_name')) {
    throw new ImportError(
      'the header has no event_name. If these are profiles, use --type profiles; otherwise --set event_name="Placed Order" names all events',
    );
  }
  if (lane === 'subscribe') checkConsentFields(given);
  return {
    count: names.length,
    targets: names.map((column, index) => ({
      column,
      fields: targets.flatMap(({ at, path }) => (at === index ? [path.join('.')] : [])),
    })),
    read: (cells) => buildEntry(cells, targets, constants),
  };
}

/** Spreadsheets write columns without a name at the end. They are empty. */
function readColumnNames(header: readonly string[]): readonly string[] {
  const names = header.map((name) => name.trim());
  while (names.at(-1) === '') names.pop();
  const unnamed = names.indexOf('');
  if (unnamed !== -1) throw new ImportError(`column ${unnamed + 1} of the header has no name`);
  return names;
}

function mapColumns(
  names: readonly string[],
  lane: ImportLane,
  mapping: Mapping,
): readonly Target[] {
  const omitted = new Set(
    mapping.omitted.flatMap((column) => findColumns('--omit', column, names)),
  );
  const mapped = mapping.columns.map(({ column, field }) => {
    const option = `--map ${column}=${field}`;
    const found = findColumns('--map', column, names);
    const [at = 0] = found;
    if (found.length > 1) throw new ImportError(`--map: two columns are called ${column}`);
    if (omitted.has(at)) throw new ImportError(`${option}: --omit leaves this column out`);
    return { at, path: requirePath(option, field, lane), from: `${names[at] ?? ''} (--map)` };
  });
  const others = names.flatMap((name, at) => {
    if (omitted.has(at) || mapped.some((each) => each.at === at)) return [];
    if (names.indexOf(name) !== at) {
      throw new ImportError(`two columns are called ${name}: --omit "${name}" leaves them out`);
    }
    const field = findField(name, lane);
    const path = field === null ? toPropertyPath(name, lane) : ([field] as const);
    return path === null ? [] : [{ at, path, from: name }];
  });
  return [...mapped, ...others]
    .sort((a, b) => a.at - b.at)
    .map((target) => ({ ...target, read: selectReadCell(target.path, lane, mapping) }));
}

/**
 * Prefers an exact match and otherwise ignores case. Throws ImportError if there is no such column.
 */
function findColumns(option: string, column: string, names: readonly string[]): readonly number[] {
  const wanted = column.trim();
  const toIndexes = (isSame: (name: string) => boolean): readonly number[] =>
    names.flatMap((name, at) => (isSame(name) ? [at] : []));
  const exact = toIndexes((name) => name === wanted);
  if (exact.length > 0) return exact;
  const lower = wanted.toLowerCase();
  const found = toIndexes((name) => name.toLowerCase() === lower);
  if (found.length > 0) return found;
  const near = findNearName(wanted, names);
  throw new ImportError(
    `${option}: the header has no column ${wanted}${near === null ? '' : ` (did you mean ${near}?)`}; its columns are ${names.slice(0, 30).join(' | ')}`,
  );
}

function checkTargets(targets: readonly Target[], constants: readonly Constant[]): void {
  const known = new Map<string, string>();
  for (const { path, from } of [...targets, ...constants]) {
    const harmful = path.find((part) => harmfulNames.has(part));
    if (harmful !== undefined) throw new ImportError(`no column may be called ${harmful}`);
    const key = JSON.stringify(path);
    const other = known.get(key);
    if (other !== undefined) {
      throw new ImportError(
        `${other} and ${from} become the same field: ${path.join('.')}; leave one out with --omit, or map it to another field with --map`,
      );
    }
    known.set(key, from);
  }
}

type Given = { readonly path: Path; readonly value: unknown };

/**
 * An empty cell is an absent field. An entry without a currency gets the one that an amount names.
 */
function buildEntry(
  cells: readonly string[],
  targets: readonly Target[],
  constants: readonly Constant[],
): ReadEntry {
  const errors: Issue[] = [];
  const given: Given[] = [...constants];
  const currencies = new Set(constants.flatMap(({ currency }) => currency ?? []));
  const stated = findCurrency(cells, targets, constants);
  for (const { at, path, read } of targets) {
    const cell = cells[at] ?? '';
    const value = read(cell, stated.code);
    if (value === undefined) continue;
    if (!value.ok) errors.push({ pointer: toPointer(path), detail: value.detail });
    else if (value.currency !== undefined) currencies.add(value.currency);
    given.push({ path, value: value.ok ? value.value : cell });
  }
  if (stated.code !== undefined) currencies.add(stated.code);
  const [named, ...others] = currencies;
  if (others.length > 0) {
    errors.push({
      pointer: '/currency',
      detail: 'differs from the currency in an amount, or two amounts name different ones',
    });
  }
  if (named !== undefined && stated.isAbsent) given.push({ path: ['currency'], value: named });
  return { entry: assemble(given), errors };
}

/**
 * The currency that a cell or constant of the entry states. `code` is set if it exists in ISO 4217.
 */
function findCurrency(
  cells: readonly string[],
  targets: readonly Target[],
  constants: readonly Constant[],
): { readonly code?: string; readonly isAbsent: boolean } {
  const isCurrency = ({ path: [name] }: { readonly path: Path }): boolean => name === 'currency';
  const target = targets.find(isCurrency);
  const read = target?.read(cells[target.at] ?? '');
  const value = read?.ok === true ? read.value : constants.find(isCurrency)?.value;
  if (value === undefined) return { isAbsent: true };
  const { code } = readCurrency(value);
  return { isAbsent: false, ...(code !== undefined && { code }) };
}

/**
 * Builds one object from all values. A path with two parts takes precedence over the same name in
 * its object.
 */
export function assemble(given: readonly Given[], onto: JsonObject = {}): JsonObject {
  const top = given.flatMap(({ path: [name, inner], value }) =>
    inner === undefined ? [[name, value] as const] : [],
  );
  const entry = { ...onto, ...Object.fromEntries(top) };
  const nested = objectFields.flatMap((object) => {
    const inside = given.flatMap(({ path: [name, inner], value }) =>
      inner !== undefined && name === object ? [[inner, value] as const] : [],
    );
    const whole = entry[object];
    // Text that is not an object stays, so that the relay rejects it.
    const isMixed = inside.length > 0 && (whole == null || isJsonObject(whole));
    return isMixed ? [[object, { ...whole, ...Object.fromEntries(inside) }] as const] : [];
  });
  return { ...entry, ...Object.fromEntries(nested) };
}
