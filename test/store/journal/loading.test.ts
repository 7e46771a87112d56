import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { laneTraits, type StoreLane } from '../../../src/model/lane.js';
import { createStates, type LoadedBlock } from '../../../src/store/journal/backlog.js';
import { encodeBlock } from '../../../src/store/journal/block.js';
import { toStoredStates, type RetryState } from '../../../src/store/journal/envelope-state.js';
import { type JournalState } from '../../../src/store/journal/journal-state.js';
import { loadLane, readUnfinishedImports } from '../../../src/store/journal/load-lane.js';
import { freshKind, redrivenKind, type Tables } from '../../../src/store/journal/tables.js';
import { createLaneTotals } from '../../../src/store/journal/totals.js';
import { aDelivery, bounds, startMs, toBytes } from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { createEmptyState, openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;
let clock: ManualClock;
let state: JournalState;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
  clock = createManualClock();
  state = createEmptyState(tables, { clock });
});
afterEach(async () => {
  for (const { workingSet } of Object.values(state.lanes)) workingSet.queue.close();
  await temporary.close();
});

const toBlock = (lane: StoreLane, kind: number, seq: number): LoadedBlock => ({
  block: {
    key: [laneTraits[lane].number, kind, seq],
    isRedriven: kind === redrivenKind,
    states: createStates(1),
  },
  entries: [{ seq, acceptedAt: startMs + seq, keys: [`k${seq}`], payload: Buffer.from('{}') }],
});

/** Leaves envelopes on disk only, each in a block of its own. Each takes 3 bytes of a request. */
async function leaveOnDisk(lane: StoreLane, ...seqs: readonly number[]): Promise<void> {
  for (const seq of seqs) {
    const { block, entries } = toBlock(lane, freshKind, seq);
    const [number, kind] = block.key;
    await tables.blocks.put([number, kind, seq], encodeBlock(entries));
    state.lanes[lane].backlog.add({ count: 1, bytes: 3 });
  }
}

const claimSeqs = (lane: StoreLane, most = {}): readonly number[] =>
  state.lanes[lane].claim(bounds(most)).flatMap((item) => item.map(({ seq }) => seq));

describe('a claim of envelopes that are on disk only', () => {
  it.each([
    ['number', { maxCount: 2 }],
    ['bytes', { maxBytes: 6 }],
  ])('loads no more than its %s', async (_name, most) => {
    await leaveOnDisk('profiles', 1, 2, 3, 4, 5);
    const lane = state.lanes.profiles;
    claimSeqs('profiles', most);
    expect(lane.inMemory()).toEqual({ count: 2, bytes: 6 });
    expect([lane.backlog.count, lane.backlog.bytes]).toEqual([3, 9]);
    expect(lane.backlog.firstSeq()).toBe(3);
  });

  it('leaves the age of the oldest one that is still on disk', async () => {
    await leaveOnDisk('events', 1, 5);
    const lane = state.lanes.events;
    await clock.advance(100);
    expect(lane.waiting()).toMatchObject({ count: 2, bytes: 6, oldestAgeMs: 100 });
    expect(claimSeqs('events', { maxCount: 1 })).toEqual([1]);
    expect(lane.backlog.oldest()).toEqual({ seq: 5, acceptedAt: startMs + 5 });
    expect(claimSeqs('events')).toEqual([5]);
    expect([lane.backlog.oldest(), lane.backlog.firstSeq()]).toEqual([null, Infinity]);
    expect(lane.waiting()).toMatchObject({ count: 0, bytes: 0 });
  });

  it('fails if they are not there', () => {
    const { backlog } = state.lanes.events;
    expect(() => backlog.read([0, 1, 5])).toThrow('block 0/1/5 is not there');
    backlog.add({ count: 1, bytes: 3 });
    expect(() => claimSeqs('events')).toThrow('lane 0 counts envelopes that are not there');
    expect(backlog.oldest()).toBeNull();
  });
});

describe('a lane at the start', () => {
  const tried: RetryState = {
    attempts: 1,
    alone: false,
    dueAt: startMs,
    delayMs: 0,
    lastTry: null,
    ref: null,
  };
  const polled: RetryState = { ...tried, ref: 'job-1' };

  async function putStates(lane: StoreLane, seq: number, one: RetryState): Promise<void> {
    await tables.states.put([laneTraits[lane].number, freshKind, seq], toStoredStates([one]));
  }

  async function putRedriven(lane: StoreLane, seq: number): Promise<void> {
    const { block, entries } = toBlock(lane, redrivenKind, seq);
    const [number, kind] = block.key;
    await tables.blocks.put([number, kind, seq], encodeBlock(entries));
  }

  /** Loads a lane with so many unsettled envelopes. */
  function load(lane: StoreLane, count: number): void {
    loadLane(lane, { ...createLaneTotals(), count, bytes: 3 * count }, state);
  }

  /** Writes blocks without counting them: the totals of a lane include them. */
  async function putBlocks(lane: StoreLane, ...seqs: readonly number[]): Promise<void> {
    await leaveOnDisk(lane, ...seqs);
    state.lanes[lane].backlog.add({ count: -seqs.length, bytes: -3 * seqs.length });
  }

  it('has its redriven envelopes in memory, and the fresh ones up to the last that was tried', async () => {
    await putRedriven('profiles', 2);
    await putBlocks('profiles', 3, 4, 5);
    await putStates('profiles', 4, tried);
    await clock.advance(100);
    load('profiles', 4);
    const { backlog, workingSet } = state.lanes.profiles;
    expect(state.lanes.profiles.inMemory()).toEqual({ count: 3, bytes: 9 });
    expect([backlog.count, backlog.bytes, backlog.firstSeq()]).toEqual([1, 3, 5]);
    expect(workingSet.queue.waiting().oldestAgeMs).toBe(100);
  });

  it('has no fresh envelopes in memory if none was tried', async () => {
    await putBlocks('profiles', 1, 2);
    load('profiles', 2);
    expect(state.lanes.profiles.inMemory()).toEqual({ count: 0, bytes: 0 });
    expect(state.lanes.profiles.backlog.count).toBe(2);
  });

  it('has the open import jobs, each with its own envelopes, oldest first', async () => {
    await putBlocks('profiles', 1, 2, 3);
    await putStates('profiles', 1, polled);
    await putStates('profiles', 2, tried);
    await putStates('profiles', 3, polled);
    load('profiles', 3);
    // It is loaded last, as one that was redriven while the relay ran.
    const { block, entries } = toBlock('profiles', redrivenKind, 2);
    state.lanes.profiles.load({ block: { ...block, states: [polled] }, entries });
    const delivery = aDelivery({ lane: 'profiles' });
    for (const ref of ['job-1', 'job-2'])
      await tables.imports.put(ref, { lane: 'profiles', delivery });
    const [job, ...others] = readUnfinishedImports(state);
    expect(others).toEqual([]);
    expect(job).toMatchObject({ lane: 'profiles', ref: 'job-1', delivery });
    expect(job?.items.flat().map(({ keys }) => keys)).toEqual([['k1'], ['k2'], ['k3']]);
  });
});

it('an envelope that was added to memory is not on disk only', async () => {
  const { block, entries } = toBlock('events', freshKind, 1);
  await tables.blocks.put([0, freshKind, 1], encodeBlock(entries));
  state.lanes.events.add({ block, entries });
  expect(state.lanes.events.backlog.firstSeq()).toBe(Infinity);
  await leaveOnDisk('events', 2);
  expect(state.lanes.events.backlog.firstSeq()).toBe(2);
});

describe('a redriven envelope', () => {
  it('that is newer than those on disk is in memory, and waits until they are loaded', async () => {
    await leaveOnDisk('events', 10);
    const lane = state.lanes.events;
    lane.addRedriven(toBlock('events', redrivenKind, 20));
    lane.addRedriven(toBlock('events', redrivenKind, 5));
    expect(lane.inMemory()).toEqual({ count: 2, bytes: 6 });
    const ids = ['ev_abcdef_k', 'ev_abcdef_5', 'ev_abcdef_a'];
    expect(ids.map((id) => lane.find(id)?.queued.seq)).toEqual([20, 5, undefined]);
    expect(lane.waiting()).toMatchObject({ count: 3, bytes: 9 });
    expect(claimSeqs('events', { maxCount: 1 })).toEqual([5]);
    expect(lane.find('ev_abcdef_5')?.inFlight).toBe(true);
    expect(lane.find('ev_abcdef_k')?.inFlight).toBe(false);
  });
});

describe('an envelope of a lane that waits for another lane', () => {
  const find = () =>
    state.order.findEarlier('subscribe', { seq: 7, keys: ['other'], payload: toBytes('{}') });

  it('waits for a single older envelope that is on disk only, since it may be of the same person', async () => {
    expect(find()).toBeUndefined();
    await leaveOnDisk('profiles', 6);
    expect(find()).toBe('profiles');
    expect(claimSeqs('profiles')).toEqual([6]);
    expect(find()).toBeUndefined();
  });

  it('does not wait for a newer envelope that is on disk only', async () => {
    await leaveOnDisk('profiles', 8);
    expect(find()).toBeUndefined();
  });
});
