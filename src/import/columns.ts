import type { Lane } from '../envelope.js';
import { eventSchema, identifierFields, profileSchema } from '../ingest/schema.js';
import { harmfulNames, isJsonObject, parseJson, type JsonObject } from '../json.js';
import { ImportError } from './import-error.js';

/** From the cells of a record, as many as there are columns, to an entry as a caller would post it. */
export type ToEntry = (cells: readonly string[]) => JsonObject;

type Column = {
  /** The field, or the object and the name in it. */
  readonly path: readonly [string] | readonly [string, string];
  readonly read: (cell: string) => unknown;
};

const fields: Readonly<Record<Lane, readonly string[]>> = {
  events: Object.keys(eventSchema.shape),
  profiles: Object.keys(profileSchema.shape),
};
const numbers = ['value', 'total_amount'];
const objects = ['properties', 'location'];

/** Throws ImportError where the header cannot be meant. */
export function toColumns(header: readonly string[], lane: Lane): ToEntry {
  const names = header.map((name) => name.trim());
  const columns = names.map((name) => toColumn(name, lane));
  checkNames(names, columns);
  const identifiers: readonly string[] = identifierFields[lane];
  if (!identifiers.some((name) => names.includes(name))) {
    throw new ImportError(
      `the header has no ${identifiers.slice(0, -1).join(', ')} or ${identifiers.at(-1) ?? ''}, but ${names.slice(0, 10).join(' | ')}` +
        (names.length === 1 ? ' alone: is --delimiter right?' : ''),
    );
  }
  if (lane === 'events' && !names.includes('event_name')) {
    throw new ImportError('the header has no event_name: are these profiles?');
  }
  return (cells) => toEntry(columns, cells);
}

function toColumn(name: string, lane: Lane): Column {
  if (numbers.includes(name) && lane === 'events') return { path: [name], read: toNumber };
  if (objects.includes(name) && fields[lane].includes(name))
    return { path: [name], read: toObject };
  if (fields[lane].includes(name)) return { path: [name], read: asText };
  const [, property] = /^properties\.(.+)$/s.exec(name) ?? [];
  if (property !== undefined) return { path: ['properties', property], read: toGuess };
  if (lane === 'events') return { path: ['properties', name], read: toGuess };
  const [, part] = /^location\.(.+)$/s.exec(name) ?? [];
  return part === undefined
    ? { path: [name], read: toGuess }
    : { path: ['location', part], read: asText };
}

function checkNames(names: readonly string[], columns: readonly Column[]): void {
  const known = new Map<string, string>();
  for (const [at, { path }] of columns.entries()) {
    const name = names[at] ?? '';
    if (name === '') throw new ImportError(`column ${at + 1} of the header has no name`);
    const harmful = path.find((part) => harmfulNames.has(part));
    if (harmful !== undefined) throw new ImportError(`no column may be called ${harmful}`);
    const key = JSON.stringify(path);
    const other = known.get(key);
    if (other !== undefined) {
      throw new ImportError(
        name === other
          ? `two columns are called ${name}`
          : `${other} and ${name} are the same column`,
      );
    }
    known.set(key, name);
  }
}

/** An empty cell is an absent field. */
function toEntry(columns: readonly Column[], cells: readonly string[]): JsonObject {
  const given = columns.flatMap(({ path, read }, at) => {
    const cell = cells[at] ?? '';
    return cell === '' ? [] : [{ path, value: read(cell) }];
  });
  const top = given.flatMap(({ path: [name, inner], value }) =>
    inner === undefined ? [[name, value] as const] : [],
  );
  const entry = Object.fromEntries(top);
  const nested = objects.flatMap((object) => {
    const inside = given.flatMap(({ path: [name, inner], value }) =>
      inner !== undefined && name === object ? [[inner, value] as const] : [],
    );
    const whole = entry[object];
    // Text that is no object stays, so that the relay says so.
    const isMixed = inside.length > 0 && (whole === undefined || isJsonObject(whole));
    return isMixed ? [[object, { ...whole, ...Object.fromEntries(inside) }] as const] : [];
  });
  return { ...entry, ...Object.fromEntries(nested) };
}

const asText = (cell: string): string => cell;

/** RFC 8259, section 6. */
const jsonNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
/** Without an exponent: `1E5` may be a name. */
const plainNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;
/** A double tells this many digits apart. */
const exactDigits = 15;

/** Text where it is none, so that the relay says so. */
function toNumber(cell: string): unknown {
  return jsonNumber.test(cell.trim()) ? toValue(cell) : cell;
}

/** A custom property: a number where it looks like one and stays the same as one. `007` is text. */
function toGuess(cell: string): unknown {
  const isExact = !cell.includes('.') || cell.replace(/\D/g, '').length <= exactDigits;
  return plainNumber.test(cell) && isExact ? toValue(cell) : cell;
}

function toObject(cell: string): unknown {
  const value = toValue(cell);
  return isJsonObject(value) ? value : cell;
}

function toValue(cell: string): unknown {
  const parsed = parseJson(cell);
  return parsed.ok && parsed.faults.length === 0 ? parsed.value : cell;
}
