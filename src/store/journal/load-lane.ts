import { blockingLanes, laneTraits, type StoreLane } from '../../model/lane.js';
import type { UnfinishedImportJob } from '../../model/delivery.js';
import { toBatchItems } from '../batch-items.js';
import type { JournalEnvelope, JournalLane } from './lane.js';
import type { JournalState } from './journal-state.js';
import { freshKind, redrivenKind, type BlockKey, type Tables } from './tables.js';
import { type LaneTotals } from './totals.js';

/**
 * Loads what an earlier process had in memory: redriven envelopes, and fresh ones up to the last block with states,
 * so that nothing overtakes an envelope that was attempted before. Later blocks are loaded by claims. A lane that
 * blocks others is loaded to its end. Throws DamagedError.
 */
export function loadLane(
  name: StoreLane,
  totals: LaneTotals,
  { tables, lanes }: JournalState,
): void {
  const lane = lanes[name];
  const { backlog } = lane;
  const number = laneTraits[name].number;
  for (const key of keysOf(tables.blocks, number, redrivenKind)) lane.load(backlog.read(key));
  const { count, bytes } = lane.inMemory();
  backlog.add({ count: totals.count - count, bytes: totals.bytes - bytes });
  const isBlocking = blockingLanes.some((each) => each === name);
  const lastMarked = isBlocking ? Infinity : (findLastState(tables, number) ?? 0);
  while (backlog.lastLoaded < lastMarked && lane.loadNext());
}

/** Returns the import jobs that ran when the process ended, with their envelopes merged again as they were sent. */
export function readUnfinishedImports({
  tables,
  lanes,
}: JournalState): readonly UnfinishedImportJob[] {
  const imports: UnfinishedImportJob[] = [];
  for (const { key: ref, value } of tables.imports.getRange()) {
    const { lane: name, delivery } = value;
    const envelopes = findPolled(lanes[name], ref);
    if (envelopes.length > 0) {
      imports.push({ lane: name, ref, delivery, items: toBatchItems(name, envelopes) });
    }
  }
  return imports;
}

function findPolled(lane: JournalLane, ref: string): readonly JournalEnvelope[] {
  return [...lane.workingSet.values()]
    .filter((envelope) => envelope.ref === ref)
    .sort((a, b) => a.seq - b.seq);
}

function findLastState(tables: Tables, lane: number): number | null {
  const range = {
    start: [lane, freshKind, Infinity],
    end: [lane, freshKind],
    reverse: true,
    limit: 1,
  };
  for (const key of tables.states.getKeys(range)) return key[2];
  return null;
}

function* keysOf(table: Tables['blocks'], lane: number, kind: number): Generator<BlockKey> {
  yield* table.getKeys({ start: [lane, kind], end: [lane, kind + 1] });
}
