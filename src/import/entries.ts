import type { Lane } from '../envelope.js';
import { isJsonObject, parseJson } from '../json.js';
import { toColumns } from './columns.js';
import { ImportError } from './import-error.js';
import type { Input } from './input.js';
import { start, type Place } from './lines.js';
import { createPrepare, type Prepare } from './prepare.js';
import type { Row } from './row.js';
import { readRows, type Layout } from './rows.js';

/** The rows of an input, and what they are. */
export type Entries = {
  readonly lane: Lane;
  readonly prepare: Prepare;
  /** Those after `place`; to be called once. */
  rowsAfter(place: Place): AsyncIterable<Row>;
  /** Instead of `rowsAfter`. */
  close(): Promise<void>;
};

/** `lane`: what the user says they are; null: nothing. Throws ImportError where the input cannot be meant. */
export async function openEntries(
  input: Input,
  layout: Layout,
  lane: Lane | null,
): Promise<Entries> {
  const rows = readRows(input.open(0), layout, start);
  const next = await rows.next();
  const first = next.done === true ? null : next.value;
  try {
    const known = lane ?? toLane(first, layout);
    return {
      lane: known,
      prepare: toPrepare(first, layout, known),
      async *rowsAfter(place) {
        if (place.offset > 0) {
          await rows.return();
          yield* readRows(input.open(place.offset), layout, place);
          return;
        }
        if (first !== null && layout.format === 'ndjson') yield first;
        yield* rows;
      },
      async close() {
        await rows.return();
      },
    };
  } catch (error) {
    await rows.return();
    throw error;
  }
}

/** Events alone give themselves away: a profile may have any field. */
function toLane(first: Row | null, { format }: Layout): Lane {
  if (first !== null && toNames(first, format).includes('event_name')) return 'events';
  throw new ImportError('say what these are: --type events or --type profiles');
}

function toNames({ cells, text }: Row, format: Layout['format']): readonly string[] {
  if (format === 'csv') return cells.map((cell) => cell.trim());
  const parsed = parseJson(text);
  return parsed.ok && isJsonObject(parsed.value) ? Object.keys(parsed.value) : [];
}

function toPrepare(first: Row | null, { format }: Layout, lane: Lane): Prepare {
  if (format === 'ndjson') {
    if (first?.text.startsWith('[') === true) {
      throw new ImportError(
        'the input is a JSON array, and not a JSON object a line: `jq -c ".[]"` makes the one of the other',
      );
    }
    return createPrepare(lane, null);
  }
  if (first === null) throw new ImportError('the input is empty: CSV has a header');
  if (first.fault !== null) throw new ImportError(`the header ${first.fault}`);
  const { cells } = first;
  return createPrepare(lane, { toEntry: toColumns(cells, lane), count: cells.length });
}
