import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { laneTraits, type StoreLane } from '../../../src/model/lane.js';
import { createStates, type LoadedBlock } from '../../../src/store/journal/backlog.js';
import { encodeBlock } from '../../../src/store/journal/block.js';
import { createJournalState, type JournalState } from '../../../src/store/journal/journal-state.js';
import {
  freshKind,
  openTables,
  redrivenKind,
  type Tables,
} from '../../../src/store/journal/tables.js';
import { bounds, startMs } from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { wideBounds } from '../contract/harness.js';

let directory: string;
let tables: Tables;
let clock: ManualClock;
let state: JournalState;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-loading-'));
  tables = openTables(join(directory, 'journal.mdb'));
  clock = createManualClock();
  state = createJournalState({
    ...wideBounds,
    clock,
    tables,
    epoch: 'abcdef',
    maxWorkingSetBytes: 1_000_000,
    onClaimable: () => undefined,
    onDeadLetterDropped: () => undefined,
  });
});
afterEach(async () => {
  for (const { workingSet } of Object.values(state.lanes)) workingSet.queue.close();
  await tables.environment.close();
  rmSync(directory, { recursive: true });
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

describe('an envelope that may have to wait for another lane', () => {
  const find = () => state.order.findEarlier('subscribe', { seq: 7, keys: ['other'] });

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
