import type { StoreLane } from '../../model/lane.js';
import type { UnfinishedImportJob } from '../../model/delivery.js';
import { toBatchItems } from '../batch-items.js';
import type { JournalEnvelope, JournalLane } from './lane.js';
import type { StageParts } from './stage-deps.js';
import { freshKind, redrivenKind, type BlockKey, type Tables } from './tables.js';
import { laneNumbers, type LaneTotals } from './totals.js';

/**
 * Brings back what an earlier process had in memory: redriven envelopes, and fresh ones up to the
 * last block with marks, so that nothing overtakes what was there first. What comes after waits on
 * disk until it is claimed. Throws DamagedError.
 */
export function loadLane(name: StoreLane, totals: LaneTotals, { tables, lanes }: StageParts): void {
  const lane = lanes[name];
  const { backlog } = lane;
  const number = laneNumbers[name];
  for (const key of keysOf(tables.blocks, number, redrivenKind)) lane.load(backlog.read(key));
  const { count, bytes } = lane.span();
  backlog.add({ count: totals.count - count, bytes: totals.bytes - bytes });
  const lastMarked = lastFreshMark(tables, number) ?? 0;
  while (backlog.passed < lastMarked && lane.bringInNext());
}

/** Envelopes whose import job was running when the process ended, as they were sent: by job, merged again. */
export function toUnfinishedImports({ tables, lanes }: StageParts): readonly UnfinishedImportJob[] {
  const imports: UnfinishedImportJob[] = [];
  for (const { key: ref, value } of tables.imports.getRange()) {
    const { lane: name, delivery } = value;
    const held = toFollowed(lanes[name], ref);
    if (held.length > 0) {
      imports.push({ lane: name, ref, delivery, items: toBatchItems(name, held) });
    }
  }
  return imports;
}

function toFollowed(lane: JournalLane, ref: string): readonly JournalEnvelope[] {
  return [...lane.held.values()].filter((held) => held.ref === ref).sort((a, b) => a.seq - b.seq);
}

function lastFreshMark(tables: Tables, lane: number): number | null {
  const range = {
    start: [lane, freshKind, Infinity],
    end: [lane, freshKind],
    reverse: true,
    limit: 1,
  };
  for (const key of tables.marks.getKeys(range)) return key[2];
  return null;
}

function* keysOf(table: Tables['blocks'], lane: number, kind: number): Generator<BlockKey> {
  yield* table.getKeys({ start: [lane, kind], end: [lane, kind + 1] });
}
