/**
 * Opens an input as entries: detects the delimiter and the lane, reads the header, and checks the
 * times of the first rows before anything is posted.
 */

import type { Clock } from '../clock.js';
import { entryNames } from '../ingest/schema.js';
import { isJsonObject, parseJson } from '../json/json.js';
import { type Columns, createColumns } from './columns.js';
import {
  detectDelimiter,
  type Format,
  type Layout,
  type Place,
  readRows,
  type Row,
  start,
} from './rows.js';
import { type ImportLane, findField, importLanes, timeFields } from './fields.js';
import { ImportError } from './import-error.js';
import type { Input } from './input.js';
import type { Mapping } from './mapping.js';
import { peek } from './decode.js';
import {
  createPrepare,
  createReadCells,
  createReadObject,
  type Prepare,
  readAsText,
  type ReadRow,
  type RowEntry,
} from './prepare.js';
import { createReadSubscriptions } from './subscriptions.js';

/** The rows of an input and how to read them. */
export type Entries = {
  readonly lane: ImportLane;
  /** For CSV. */
  readonly delimiter: string;
  /** Null for NDJSON. */
  readonly columns: Columns | null;
  readonly prepare: Prepare;
  /** The rows after `place`. Call it once. */
  rowsAfter(place: Place): AsyncIterable<Row>;
  /** Call this instead of `rowsAfter` if the rows are not needed. */
  close(): Promise<void>;
};

export type EntriesOptions = {
  readonly format: Format;
  /** For CSV. Null: detected from the header. */
  readonly delimiter: string | null;
  readonly mapping: Mapping;
  /** The lane given by the user; null: detected from the input. */
  readonly lane: ImportLane | null;
};

const maxHeadBytes = 65_536;
const lineEnd = 10;
/** The rows whose times are checked before anything is posted. */
const maxRowsAhead = 100;

/** Throws ImportError if the input or an option about it cannot be right. */
export async function openEntries(
  input: Input,
  options: EntriesOptions,
  clock: Pick<Clock, 'now'>,
): Promise<Entries> {
  const { format, mapping } = options;
  const { head, chunks, close } = await peek(
    input.open(0),
    (bytes) => bytes.length >= maxHeadBytes || bytes.includes(lineEnd),
  );
  const opened: AsyncGenerator<Row, void>[] = [];
  const closeAll = async (): Promise<void> => {
    for (const each of opened) await each.return();
    await close();
  };
  try {
    const delimiter = options.delimiter ?? (format === 'csv' ? findDelimiter(head) : ',');
    const layout: Layout = { format, delimiter };
    const rows = readRows(chunks, layout, start);
    opened.push(rows);
    const first = await readFirst(rows);
    const lane = options.lane ?? detectLane(first, options);
    const columns = format === 'csv' ? createCsvColumns(first, lane, mapping) : null;
    checkTimeOptions(columns, lane, mapping);
    const readRow =
      columns === null
        ? selectNdjsonReader(first, lane, mapping)
        : selectCsvReader(columns, lane, clock);
    const ahead = first === null || format === 'csv' ? [] : [first];
    const timeField = timeFields[lane];
    if (timeField !== null && readRow !== readAsText) {
      const count = input.file === null ? 1 : maxRowsAhead;
      ahead.push(...(await readSome(rows, count - ahead.length)));
      checkTimes(ahead, readRow, { timeField, columns });
    }
    return {
      lane,
      delimiter,
      columns,
      prepare: createPrepare(lane, readRow),
      async *rowsAfter(place) {
        if (place.offset > 0) {
          await closeAll();
          yield* readRows(input.open(place.offset), layout, place);
          return;
        }
        yield* ahead;
        yield* rows;
      },
      close: closeAll,
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function readFirst(rows: AsyncGenerator<Row, void>): Promise<Row | null> {
  const [first = null] = await readSome(rows, 1);
  return first;
}

/** Returns fewer rows if the input ends. */
async function readSome(rows: AsyncGenerator<Row, void>, count: number): Promise<readonly Row[]> {
  const some: Row[] = [];
  while (some.length < count) {
    const next = await rows.next();
    if (next.done === true) break;
    some.push(next.value);
  }
  return some;
}

function findDelimiter(head: Buffer): string {
  const [line = ''] = head.toString('utf8').split('\n');
  return detectDelimiter(line.replace('\ufeff', ''));
}

/** Only events can be recognised, because a profile may have any field. */
function detectLane(first: Row | null, { format, mapping }: EntriesOptions): ImportLane {
  const said = [...mapping.columns, ...mapping.constants].map(({ field }) => field);
  const names = first === null ? said : [...said, ...listFirstNames(first, format)];
  if (names.includes('event_name')) return 'events';
  const options = importLanes.map((lane) => `--type ${entryNames[lane].many}`).join(' or ');
  throw new ImportError(`the lane is unknown: use ${options}`);
}

function listFirstNames({ cells, text }: Row, format: Format): readonly string[] {
  if (format === 'csv') return cells.map((cell) => findField(cell.trim(), 'events') ?? '');
  const parsed = parseJson(text);
  return parsed.ok && isJsonObject(parsed.value) ? Object.keys(parsed.value) : [];
}

function createCsvColumns(first: Row | null, lane: ImportLane, mapping: Mapping): Columns {
  if (first === null) throw new ImportError('the input is empty, but CSV needs a header');
  if (first.fault !== null) throw new ImportError(`the header ${first.fault}`);
  return createColumns(first.cells, lane, mapping);
}

function selectCsvReader(columns: Columns, lane: ImportLane, clock: Pick<Clock, 'now'>): ReadRow {
  return lane === 'subscribe' ? createReadSubscriptions(columns, clock) : createReadCells(columns);
}

function selectNdjsonReader(first: Row | null, lane: ImportLane, mapping: Mapping): ReadRow {
  if (first?.text.startsWith('[') === true) {
    throw new ImportError(
      'the input is a JSON array instead of one JSON object a line: `jq -c ".[]"` converts it',
    );
  }
  if (mapping.columns.length + mapping.omitted.length > 0) {
    throw new ImportError('--map and --omit are for the columns of CSV, but the input is NDJSON');
  }
  return createReadObject(mapping, lane);
}

function checkTimeOptions(columns: Columns | null, lane: ImportLane, mapping: Mapping): void {
  if (!mapping.hasTimeOptions) return;
  if (lane === 'profiles') {
    throw new ImportError(
      '--time-format and --timezone are for event_time, which profiles do not have',
    );
  }
  const lacksTime =
    lane === 'events' &&
    columns?.targets.some(({ fields }) => fields.includes('event_time')) === false &&
    !mapping.constants.some(({ field }) => field === 'event_time');
  if (lacksTime) {
    throw new ImportError(
      '--time-format and --timezone are for event_time, which no column has: name its column with --map "COLUMN=event_time"',
    );
  }
}

/**
 * Throws ImportError if no time of these rows can be read, which means that the options are wrong.
 */
function checkTimes(
  rows: readonly Row[],
  readRow: ReadRow,
  { timeField, columns }: { readonly timeField: string; readonly columns: Columns | null },
): void {
  const column = columns?.targets.find(({ fields }) => fields.includes(timeField))?.column;
  const what = column === undefined ? timeField : `${timeField}, the column ${column},`;
  let wrong: string | null = null;
  for (const row of rows) {
    for (const { entry, errors } of readRowEntries(row, readRow)) {
      if (entry[timeField] === undefined) continue;
      const fault = errors.find(({ pointer }) => pointer === `/${timeField}`);
      if (fault === undefined) return;
      wrong ??= `${what} of line ${row.line} ${fault.detail}`;
    }
  }
  if (wrong !== null) throw new ImportError(wrong);
}

function readRowEntries(row: Row, readRow: ReadRow): readonly RowEntry[] {
  if (row.fault !== null) return [];
  const content = readRow(row);
  if (content.kind === 'entries') return content.entries;
  return content.kind === 'entry' ? [content] : [];
}
