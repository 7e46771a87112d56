import { dedupedLane, laneTraits, type StoreLane, storeLanes } from '../../model/lane.js';
import { payloadBytes } from '../claim-builder.js';
import { createStates, type LoadedBlock } from './backlog.js';
import { cutIntoBlocks, encodeBlock } from './block.js';
import type { NumberedDeadLetter } from './dead-letters.js';
import type { Staged } from './group-commit.js';
import type { JournalState } from './journal-state.js';
import { redrivenKind } from './tables.js';
import { type Totals } from './totals.js';
import { put } from './write.js';

type Redriven = LoadedBlock & { readonly lane: StoreLane };

/**
 * Stages a redrive: dead letters become unsettled envelopes again, with a new time of acceptance. With the old one
 * they would exceed the maximum age at their first failed attempt.
 */
export function stageRedrive(
  found: readonly NumberedDeadLetter[],
  nextTotals: Totals,
  state: JournalState,
): Staged<number> {
  const { tables, dedupe, deadLetters, admission } = state;
  const sequence = nextTotals.nextSeen;
  const redriven = storeLanes.flatMap((lane) => countRedriven(lane, found, { nextTotals, state }));
  const entries = redriven.flatMap((one) => one.entries);
  const events = redriven.flatMap((one) => (one.lane === dedupedLane ? one.entries : []));
  const bytes = entries.reduce((sum, one) => sum + payloadBytes(one), 0);
  return {
    writes: [
      ...redriven.map(({ block, entries: own }) => {
        const [lane, kind, number] = block.key;
        return put(tables.blocks, [lane, kind, number], encodeBlock(own));
      }),
      ...deadLetters.remove(found, nextTotals),
      ...dedupe.add(events, nextTotals),
    ],
    committed() {
      admission.add(entries.length, bytes);
      const dedupeEntry = { at: state.clock.monotonic(), sequence };
      for (const { seq, keys } of events) dedupe.window.add(keys, seq, dedupeEntry);
      for (const one of redriven) state.lanes[one.lane].addRedriven(one);
      return found.length;
    },
  };
}

/** Stages the deletion of dead letters. */
export function stageDiscard(
  found: readonly NumberedDeadLetter[],
  nextTotals: Totals,
  { deadLetters }: JournalState,
): Staged<number> {
  return { writes: deadLetters.remove(found, nextTotals), committed: () => found.length };
}

/** Counts the dead letters and writes nothing (a dry run). */
export function stageCount(found: readonly NumberedDeadLetter[]): Staged<number> {
  return { writes: [], committed: () => found.length };
}

function countRedriven(
  lane: StoreLane,
  found: readonly NumberedDeadLetter[],
  { nextTotals, state }: { readonly nextTotals: Totals; readonly state: JournalState },
): readonly Redriven[] {
  const acceptedAt = state.clock.now();
  const entries = found
    .map(({ deadLetter }) => deadLetter)
    .filter((deadLetter) => deadLetter.lane === lane)
    .map(({ seq, keys, payload }) => ({ seq, acceptedAt, keys, payload }))
    .sort((a, b) => a.seq - b.seq);
  const totals = nextTotals.lanes[lane];
  totals.count += entries.length;
  totals.accepted += entries.length;
  totals.bytes += entries.reduce((sum, one) => sum + payloadBytes(one), 0);
  return cutIntoBlocks(entries).map((own) => ({
    lane,
    block: {
      key: [laneTraits[lane].number, redrivenKind, nextTotals.nextRedriven++],
      isRedriven: true,
      states: createStates(own.length),
    },
    entries: own,
  }));
}
