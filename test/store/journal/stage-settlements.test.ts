import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BatchItem, Draft } from '../../../src/model/envelope.js';
import type { Lane } from '../../../src/model/lane.js';
import type { Verdict } from '../../../src/model/outcome.js';
import type { Settlement } from '../../../src/model/store.js';
import { type JournalState } from '../../../src/store/journal/journal-state.js';
import { stageAppends } from '../../../src/store/journal/stage-appends.js';
import { stageSettlements } from '../../../src/store/journal/stage-settlements.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { createTotals, type Totals } from '../../../src/store/journal/totals.js';
import type { Write } from '../../../src/store/journal/write.js';
import {
  ack,
  aDelivery,
  anEvent,
  anItem,
  aProfile,
  aReason,
  bounds,
  deadLetter,
  merged,
  retry,
  settledAs,
} from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { wideBounds } from '../contract/harness.js';
import { createEmptyState, openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;
let clock: ManualClock;
let state: JournalState;
let totals: Totals;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
  clock = createManualClock();
  totals = createTotals();
  state = createEmptyState(tables, { clock });
});
afterEach(async () => {
  for (const { workingSet } of Object.values(state.lanes)) workingSet.queue.close();
  await temporary.close();
});

const run = (writes: readonly Write[]) =>
  tables.environment.batch(() => {
    for (const each of writes) each.run();
  });

/** Appends drafts and claims them. */
async function claimNew(drafts: readonly Draft[], lane: Lane = 'events') {
  const staged = await stageAppends([drafts], totals, state);
  await run(staged.writes);
  await staged.committed();
  return state.lanes[lane].claim(bounds());
}

const toSettlement = (
  items: readonly BatchItem[],
  verdict: Verdict = ack,
  overrides: Partial<Settlement> = {},
): Settlement => ({ lane: 'events', settled: settledAs(items, verdict), ...overrides });

/** Stages the settlements and returns how many are in the group. */
const countStaged = (...settlements: readonly Settlement[]): number =>
  stageSettlements(settlements, totals, state).committed();

async function settle(...settlements: readonly Settlement[]): Promise<void> {
  const { writes, committed } = stageSettlements(settlements, totals, state);
  await run(writes);
  expect(committed()).toBe(settlements.length);
}

describe('a group of settlements', () => {
  it('has those that touch different envelopes', async () => {
    const [one, two] = await claimNew([anEvent(), anEvent()]);
    expect(countStaged(toSettlement([one!]), toSettlement([two!], retry(500)))).toBe(2);
  });

  it.each([
    ['settles', ack],
    ['retries', retry(500)],
    ['polls', { kind: 'poll', ref: 'job-1' } as const],
  ])('ends before one that %s an envelope of an earlier one', async (_name, verdict) => {
    const items = await claimNew([anEvent(), anEvent(), anEvent()]);
    const [one, two, three] = items;
    const settlements = [
      toSettlement([one!]),
      toSettlement([two!], retry(500)),
      toSettlement([three!, two!], verdict),
      toSettlement([three!]),
    ];
    expect(countStaged(...settlements)).toBe(2);
  });

  it('ends before one with a delivery of an earlier one', async () => {
    const [one, two, three] = await claimNew([anEvent(), anEvent(), anEvent()]);
    const delivery = aDelivery();
    const settlements = [
      toSettlement([one!], ack, { delivery }),
      toSettlement([two!], ack, { delivery: aDelivery() }),
      toSettlement([three!], ack, { delivery }),
    ];
    expect(countStaged(...settlements)).toBe(2);
  });

  it('has 10,000 envelopes at most, or a single settlement', () => {
    const many = (count: number) => toSettlement(Array<BatchItem>(count).fill(anItem('n')));
    expect(countStaged(many(9999), many(1))).toBe(2);
    expect(countStaged(many(10_000), many(1))).toBe(1);
    expect(countStaged(many(15_000), many(1))).toBe(1);
  });
});

describe('a settlement', () => {
  it('counts in the totals what happened to its envelopes', async () => {
    const items = await claimNew(Array.from({ length: 7 }, () => anEvent({ text: '{}' })));
    await settle({
      lane: 'events',
      settled: [
        ...settledAs(items.slice(0, 3), ack),
        ...settledAs(items.slice(3, 5), merged),
        ...settledAs(items.slice(5, 6), deadLetter()),
        ...settledAs(items.slice(6), retry(500)),
      ],
    });
    expect(totals.lanes.events).toMatchObject({
      accepted: 7,
      count: 1,
      bytes: 3,
      delivered: 3,
      merged: 2,
      deadLettered: 1,
      deadLetters: 1,
    });
  });

  it('adds to what earlier settlements did to a block', async () => {
    const [one, two, three] = await claimNew([anEvent(), anEvent(), anEvent()]);
    await settle(toSettlement([one!]));
    await settle(toSettlement([two!]));
    const key: [number, number, number] = [0, 1, 1];
    expect(tables.states.get(key)?.runs).toEqual([
      [2, 1],
      [1, 0],
    ]);
    await settle(toSettlement([three!]));
    expect([tables.states.get(key), tables.blocks.get(key)]).toEqual([undefined, undefined]);
  });

  it('makes a dead letter of an envelope, with its attempts, the reason and the delivery', async () => {
    const [one, two] = await claimNew([anEvent(), anEvent()]);
    await clock.advance(500);
    const delivery = aDelivery();
    await settle(toSettlement([one!], deadLetter('bad'), { delivery }));
    await settle(toSettlement([two!], deadLetter('bad')));
    const found = [one, two].map((item) => state.deadLetters.find(item![0].id));
    const common = {
      attempts: 1,
      reason: aReason({ code: 'bad' }),
      deadLetteredAt: clock.now(),
    };
    expect(found).toMatchObject([
      { ...common, deliveryId: delivery.id },
      { ...common, deliveryId: null },
    ]);
  });

  it('frees the keys of events that become dead letters, and of these alone', async () => {
    await claimNew([anEvent({ keys: ['ea'] })]);
    const profiles = await claimNew([aProfile({ keys: ['ea'] })], 'profiles');
    await settle(toSettlement(profiles, deadLetter(), { lane: 'profiles' }));
    expect(state.dedupe.window.find(['ea'])).toBe(1);
    const [other] = await claimNew([anEvent({ keys: ['eb'] })]);
    await settle(toSettlement([other!], deadLetter()));
    expect(state.dedupe.window.find(['eb'])).toBeUndefined();
  });

  it('keeps its delivery as long as its import job is open, and the latest form of it', async () => {
    const items = await claimNew([aProfile()], 'profiles');
    const lane = 'profiles';
    const importJob = { id: 'job-1', status: 'queued', completed: null, failed: null } as const;
    const delivery = aDelivery({ lane, importJob });
    await settle(toSettlement(items, { kind: 'poll', ref: 'job-1' }, { lane, delivery }));
    expect(tables.imports.get('job-1')).toEqual({ lane, delivery });
    const later = { ...delivery, importJob: { ...importJob, status: 'processing' as const } };
    await settle({ lane, settled: [], delivery: later });
    expect(tables.imports.get('job-1')).toEqual({ lane, delivery: later });
    await settle(toSettlement(items, ack, { lane, delivery: later }));
    expect(tables.imports.get('job-1')).toBeUndefined();
    await settle({ lane, settled: [], delivery: later });
    await settle({ lane, settled: [] });
    expect(tables.imports.getKeysCount()).toBe(0);
  });

  it('gives its space back', async () => {
    state.admission.add(2, 6);
    const items = await claimNew(['{}', '{}'].map((text) => anEvent({ text })));
    await settle(toSettlement(items.slice(0, 1)));
    expect(state.admission.backpressure(wideBounds.capacity.maxCount - 1, 0)).toBeNull();
    expect(state.admission.backpressure(wideBounds.capacity.maxCount, 0)).not.toBeNull();
    expect(state.admission.backpressure(0, wideBounds.capacity.maxBytes - 3)).toBeNull();
    expect(state.admission.backpressure(0, wideBounds.capacity.maxBytes - 2)).not.toBeNull();
  });
});
