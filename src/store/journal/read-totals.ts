import { laneTraits, mapStoreLanes, type StoreLane } from '../../model/lane.js';
import { Backlog, measureEntries } from './backlog.js';
import type { BlockKey, Tables } from './tables.js';
import { createLaneTotals, storedTotalsSchema, type LaneTotals, type Totals } from './totals.js';

/** Reads the totals; null if they cannot be read. Throws DamagedError. */
export function readTotals(tables: Tables): Totals | null {
  const stored = storedTotalsSchema.safeParse(tables.meta.get('totals')).data;
  if (stored === undefined) return null;
  const { lanes } = stored;
  // These lanes exist since the first version.
  if (lanes.events === undefined || lanes.profiles === undefined) return null;
  return { ...stored, lanes: mapStoreLanes((lane) => lanes[lane] ?? recountLane(tables, lane)) };
}

/**
 * Counts the envelopes of a lane that is absent in the totals: an older version that does not have the lane wrote
 * them, and left the lane's envelopes in place.
 */
function recountLane(tables: Tables, lane: StoreLane): LaneTotals {
  const number = laneTraits[lane].number;
  const totals = createLaneTotals();
  const backlog = new Backlog(tables, number);
  const keys = tables.blocks.getKeys({ start: [number], end: [number + 1] });
  for (const key of keys as Iterable<BlockKey>) {
    const { block, entries } = backlog.read(key);
    const { count, bytes } = measureEntries(
      entries.filter((_, index) => block.states[index] !== 'settled'),
    );
    totals.count += count;
    totals.bytes += bytes;
    for (const { seq } of entries) totals.nextSeq = Math.max(totals.nextSeq, seq + 1);
  }
  totals.accepted = totals.count;
  return totals;
}
