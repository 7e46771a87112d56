import { laneTraits, type StoreLane } from '../../model/lane.js';
import type { HeldEnvelope } from '../../model/store.js';
import { Slices } from '../../slices.js';
import { payloadBytes } from '../claim-builder.js';
import { fromId, toId } from '../ids.js';
import { toErasedEntry, type LoadedBlock } from './backlog.js';
import { encodeBlock, type Entry } from './block.js';
import type { Staged } from './group-commit.js';
import type { JournalEnvelope } from './lane.js';
import type { JournalState } from './journal-state.js';
import type { BlockKey } from './tables.js';
import type { Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

/**
 * The erasure of envelopes from the journal. The content of an erased envelope is removed from its block,
 * whose other entries keep their places, so that the states of the block stay valid.
 */

type Found = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly keys: readonly string[];
  readonly payload: Uint8Array;
};

/** Finds unsettled envelopes, in memory and on disk. Runs in slices. Throws DamagedError. */
export async function findEnvelopes(
  lanes: readonly StoreLane[],
  isMatch: (found: Found) => boolean,
  state: JournalState,
): Promise<readonly HeldEnvelope[]> {
  const { tables, clock, epoch } = state;
  const slices = new Slices(clock);
  const held: HeldEnvelope[] = [];
  for (const lane of lanes) {
    const { number } = laneTraits[lane];
    for (const key of listBlocks(state, number)) {
      if (slices.isUsedUp()) await slices.startNext();
      // All of its envelopes may have been settled meanwhile.
      if (!tables.blocks.doesExist([key[0], key[1], key[2]])) continue;
      const { block, entries } = state.lanes[lane].backlog.read(key);
      for (const [index, { seq, acceptedAt, keys, payload }] of entries.entries()) {
        if (slices.isUsedUp()) await slices.startNext();
        const id = toId({ lane, epoch, seq });
        if (block.states[index] === 'settled') continue;
        const inMemory = state.lanes[lane].find(id);
        const isHere = inMemory === undefined || isSameKey(inMemory.queued.block.key, key);
        if (!isHere || !isMatch({ id, lane, keys, payload })) continue;
        const isInFlight = inMemory?.inFlight === true;
        held.push({ id, lane, acceptedAt, state: isInFlight ? 'in_flight' : 'buffered' });
      }
    }
  }
  return held;
}

function listBlocks({ tables }: JournalState, lane: number): readonly BlockKey[] {
  return [...tables.blocks.getKeys({ start: [lane, 0, 0], end: [lane + 1, 0, 0] })];
}

const isSameKey = (one: BlockKey, other: BlockKey): boolean =>
  one.every((part, index) => part === other[index]);

type Erased = {
  readonly lane: StoreLane;
  readonly id: string;
  readonly entry: Entry;
};

/** Stages the removal of envelopes that are not in flight. The result has the lane of each. */
export function stageErasure(
  held: readonly HeldEnvelope[],
  nextTotals: Totals,
  state: JournalState,
): Staged<readonly StoreLane[]> {
  const byBlock = groupByBlock(held, state);
  const writes: Write[] = [];
  const erased: Erased[] = [];
  for (const { lane, loaded, seqs } of byBlock) {
    const { block, entries } = loaded;
    const isErased = (entry: Entry, index: number): boolean =>
      seqs.has(entry.seq) && block.states[index] !== 'settled';
    const own = entries.filter(isErased);
    const left = entries.filter(
      (entry, index) => block.states[index] !== 'settled' && !isErased(entry, index),
    );
    writes.push(...toBlockWrites(loaded, { isErased, isEmpty: left.length === 0 }, state));
    const totals = nextTotals.lanes[lane];
    for (const entry of own) {
      totals.count--;
      totals.bytes -= payloadBytes(entry);
      totals.erased++;
      erased.push({ lane, id: toId({ lane, epoch: state.epoch, seq: entry.seq }), entry });
    }
  }
  return {
    writes,
    committed() {
      for (const each of erased) removeFromMemory(each, state);
      return erased.map(({ lane }) => lane);
    },
  };
}

type InBlock = {
  readonly lane: StoreLane;
  readonly loaded: LoadedBlock;
  readonly seqs: Set<number>;
};

/** The blocks of the envelopes, each with the states that it has in memory or on disk. */
function groupByBlock(
  held: readonly HeldEnvelope[],
  { tables, lanes }: JournalState,
): readonly InBlock[] {
  const blocks = new Map<string, InBlock>();
  for (const { lane, id } of held) {
    const seq = fromId(id)?.seq ?? 0;
    const { backlog } = lanes[lane];
    const inMemory = lanes[lane].find(id);
    if (inMemory?.inFlight === true && lane !== 'waiting') continue;
    const key = inMemory?.queued.block.key ?? backlog.findBlock(seq);
    if (key === null || !tables.blocks.doesExist([key[0], key[1], key[2]])) continue;
    const name = key.join('/');
    const known = blocks.get(name);
    if (known !== undefined) {
      known.seqs.add(seq);
      continue;
    }
    const { block, entries } = backlog.read(key);
    const states = inMemory?.queued.block.states ?? block.states;
    blocks.set(name, {
      lane,
      loaded: { block: { ...block, states }, entries },
      seqs: new Set([seq]),
    });
  }
  return [...blocks.values()];
}

function toBlockWrites(
  { block, entries }: LoadedBlock,
  {
    isErased,
    isEmpty,
  }: {
    readonly isErased: (entry: Entry, index: number) => boolean;
    readonly isEmpty: boolean;
  },
  { tables }: JournalState,
): readonly Write[] {
  const [lane, kind, number] = block.key;
  if (isEmpty) {
    return [
      remove(tables.blocks, [lane, kind, number]),
      remove(tables.states, [lane, kind, number]),
    ];
  }
  const kept = entries.map((entry, index) =>
    isErased(entry, index) ? toErasedEntry(entry) : entry,
  );
  return [put(tables.blocks, [lane, kind, number], encodeBlock(kept))];
}

/** A claim may have loaded the envelope from disk while the removal was written. */
function removeFromMemory({ lane, id, entry }: Erased, state: JournalState): void {
  const bytes = payloadBytes(entry);
  state.admission.remove(1, bytes);
  const journalLane = state.lanes[lane];
  const inMemory = journalLane.find(id);
  if (inMemory === undefined) journalLane.backlog.remove({ count: 1, bytes });
  else {
    setSettled(inMemory.queued);
    journalLane.erase([inMemory.queued]);
  }
  journalLane.notifyIfClaimable();
}

function setSettled({ block, index }: JournalEnvelope): void {
  block.states = block.states.map((state, at) => (at === index ? 'settled' : state));
}
