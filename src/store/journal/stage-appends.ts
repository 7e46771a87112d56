import {
  blockingLanes,
  counterLane,
  dedupedLane,
  laneTraits,
  mapStoreLanes,
  type StoreLane,
  storeLanes,
} from '../../model/lane.js';
import type { Draft } from '../../model/envelope.js';
import type { Reason } from '../../model/outcome.js';
import { forEachInSlices, Slices } from '../../slices.js';
import { toId } from '../ids.js';
import { payloadBytes } from '../claim-builder.js';
import { toErasureMark } from '../person.js';
import type { AppendedEnvelope } from '../../model/store.js';
import { createStates, type LoadedBlock } from './backlog.js';
import { cutIntoBlocks, encodeBlock, type Entry } from './block.js';
import type { StagedInSlices } from './group-commit.js';
import type { JournalDeadLetter } from './dead-letter-codec.js';
import type { JournalState } from './journal-state.js';
import { freshKind } from './tables.js';
import { type Totals } from './totals.js';
import { put, type Write } from './write.js';

/**
 * Stages a group of appends: blocks of each lane, dead letters, and keys of the dedupe window. It runs in slices.
 * No other group changes the totals meanwhile, and claims read only envelopes that are already in memory, which are
 * the oldest.
 */
export async function stageAppends(
  appends: readonly (readonly Draft[])[],
  nextTotals: Totals,
  state: JournalState,
): Promise<StagedInSlices<readonly (readonly AppendedEnvelope[])[]>> {
  const { dedupe, admission, deadLetters: deadLetterLog, onDeadLetterDropped, clock } = state;
  const numbering = new DraftNumbering(nextTotals, state);
  const slices = new Slices(clock);
  const appended: AppendedEnvelope[][] = [];
  for (const drafts of appends) {
    const numbered: AppendedEnvelope[] = [];
    for (const one of drafts) {
      if (slices.isUsedUp()) await slices.startNext();
      numbered.push(numbering.add(one));
    }
    appended.push(numbered);
  }
  const { fresh, deadLetters, notQueued } = numbering;
  const blocks = mapStoreLanes((lane) => toLoadedBlocks(lane, fresh[lane]));
  const all = storeLanes.flatMap((lane) => blocks[lane]);
  const writes: Write[] = [];
  await forEachInSlices(all, clock, (each) => writes.push(toWrite(each, state)));
  const deadLetterPlan = deadLetterLog.add(deadLetters, nextTotals);
  writes.push(...deadLetterPlan.writes);
  await forEachInSlices(cutIntoGroups(fresh[dedupedLane]), clock, (events) =>
    writes.push(...dedupe.add(events, nextTotals)),
  );
  return {
    writes,
    async committed() {
      // Lanes that block others come first, since the others are claimable as soon as they are added.
      const inOrder = [...new Set<StoreLane>([...blockingLanes, ...storeLanes])];
      const filled = inOrder.filter((lane) => blocks[lane].length > 0);
      // Otherwise an envelope could leave before an earlier one of another lane is added.
      const holds = filled.length > 1;
      if (holds) state.order.hold();
      for (const lane of filled) {
        await forEachInSlices(blocks[lane], clock, (each) => state.lanes[lane].add(each));
      }
      if (holds) state.order.release();
      admission.giveBack(notQueued.count, notQueued.bytes);
      deadLetterPlan.dropped.forEach(onDeadLetterDropped);
      return appended;
    },
    rolledBack() {
      for (const { keys, seq } of fresh[dedupedLane]) dedupe.window.remove(keys, seq);
    },
  };
}

/** Events in one entry of the dedupe log, at most, since an entry is encoded in one slice. */
const maxEventsPerEntry = 5000;

function* cutIntoGroups(events: readonly Entry[]): Generator<readonly Entry[]> {
  for (let from = 0; from < events.length; from += maxEventsPerEntry) {
    yield events.slice(from, from + maxEventsPerEntry);
  }
}

/**
 * Gives the drafts of a group their numbers, counts them in the group's copy of the totals, and sorts them into
 * fresh envelopes, dead letters and duplicates.
 */
class DraftNumbering {
  readonly fresh: Readonly<Record<StoreLane, Entry[]>> = mapStoreLanes(() => []);
  readonly deadLetters: JournalDeadLetter[] = [];
  /** Drafts for which space was reserved but not needed: duplicates and dead letters. */
  readonly notQueued = { count: 0, bytes: 0 };
  readonly #nextTotals: Totals;
  readonly #state: JournalState;
  /** What the dedupe window stores with each key of this group. */
  readonly #original: { readonly at: number; readonly sequence: number };

  constructor(nextTotals: Totals, state: JournalState) {
    this.#nextTotals = nextTotals;
    this.#state = state;
    this.#original = { at: state.clock.monotonic(), sequence: nextTotals.nextSeen };
  }

  add(one: Draft): AppendedEnvelope {
    const { lane, keys, deadLetterReason } = one;
    const { epoch, dedupe } = this.#state;
    const original = lane === dedupedLane ? dedupe.window.find(keys) : undefined;
    if (original !== undefined) {
      this.#countNotQueued(one);
      return { id: toId({ lane, epoch, seq: original }), duplicate: true };
    }
    const totals = this.#nextTotals.lanes[lane];
    const seq = this.#nextTotals.lanes[counterLane(lane)].nextSeq++;
    totals.accepted++;
    if (deadLetterReason === undefined) this.#keep(one, seq, this.#toKeys(one, seq));
    else this.#addDeadLetter(one, seq, deadLetterReason);
    return { id: toId({ lane, epoch, seq }), duplicate: false };
  }

  #toKeys({ lane, keys }: Draft, seq: number): readonly string[] {
    if (lane !== 'erase') return keys;
    const { events, waiting } = this.#nextTotals.lanes;
    const last = { events: events.nextSeq - 1, waiting: waiting.nextSeq - 1 };
    return [...keys, toErasureMark(seq, last)];
  }

  #keep({ lane, acceptedAt, payload }: Draft, seq: number, keys: readonly string[]): void {
    const totals = this.#nextTotals.lanes[lane];
    totals.count++;
    totals.bytes += payloadBytes({ payload });
    this.fresh[lane].push({ seq, acceptedAt, keys, payload });
    if (lane === dedupedLane) this.#state.dedupe.window.add(keys, seq, this.#original);
  }

  #addDeadLetter(one: Draft, seq: number, reason: Reason): void {
    const { lane, keys, acceptedAt, payload } = one;
    const { epoch, clock } = this.#state;
    this.#nextTotals.lanes[lane].deadLettered++;
    this.deadLetters.push({
      id: toId({ lane, epoch, seq }),
      lane,
      seq,
      keys,
      acceptedAt,
      deadLetteredAt: clock.now(),
      attempts: 0,
      reason,
      deliveryId: null,
      payload,
    });
    this.#countNotQueued(one);
  }

  #countNotQueued(one: Draft): void {
    this.notQueued.count++;
    this.notQueued.bytes += payloadBytes(one);
  }
}

function toLoadedBlocks(lane: StoreLane, fresh: readonly Entry[]): readonly LoadedBlock[] {
  return cutIntoBlocks(fresh).map((entries) => {
    const [first] = entries;
    return {
      block: {
        key: [laneTraits[lane].number, freshKind, first?.seq ?? 0],
        isRedriven: false,
        states: createStates(entries.length),
      },
      entries,
    };
  });
}

function toWrite({ block, entries }: LoadedBlock, { tables, bufferPool }: JournalState): Write {
  const [lane, kind, number] = block.key;
  return put(tables.blocks, [lane, kind, number], encodeBlock(entries, bufferPool.allocate));
}
