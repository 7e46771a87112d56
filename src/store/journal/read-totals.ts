import type { StoreLane } from '../../model/lane.js';
import { mapStoreLanes } from '../../model/lane.js';
import { Backlog, toSpan } from './backlog.js';
import type { BlockKey, Tables } from './tables.js';
import {
  freshLane,
  laneNumbers,
  storedTotalsSchema,
  type LaneTotals,
  type Totals,
} from './totals.js';

/** The totals as they lie on disk; null where they cannot be read. Throws DamagedError. */
export function readTotals(tables: Tables): Totals | null {
  const stored = storedTotalsSchema.safeParse(tables.meta.get('totals')).data;
  if (stored === undefined) return null;
  const { lanes } = stored;
  // These were there in the first version.
  if (lanes.events === undefined || lanes.profiles === undefined) return null;
  return { ...stored, lanes: mapStoreLanes((lane) => lanes[lane] ?? countAgain(tables, lane)) };
}

/**
 * Of a lane that the version which wrote the totals does not have. Where it has envelopes all the same,
 * that version had the directory in between and left them as they are.
 */
function countAgain(tables: Tables, lane: StoreLane): LaneTotals {
  const number = laneNumbers[lane];
  const totals = freshLane();
  const backlog = new Backlog(tables, number);
  const keys = tables.blocks.getKeys({ start: [number], end: [number + 1] });
  for (const key of keys as Iterable<BlockKey>) {
    const { block, entries } = backlog.read(key);
    const { count, bytes } = toSpan(entries.filter((_, index) => block.marks[index] !== 'gone'));
    totals.count += count;
    totals.bytes += bytes;
    for (const { seq } of entries) totals.nextSeq = Math.max(totals.nextSeq, seq + 1);
  }
  totals.accepted = totals.count;
  return totals;
}
