import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import {
  buildPayloads,
  createBatcher,
  selectTrigger,
  type BatchBounds,
  type Batcher,
} from '../../src/delivery/batcher.js';
import type { Trigger } from '../../src/model/delivery.js';
import { MemoryStore } from '../../src/store/memory.js';
import { factBounds } from '../store/contract/harness.js';
import {
  anItem,
  bounds as claimBounds,
  retry,
  settledAs,
  someEvents,
  someProfiles,
  toBytes,
  toTexts,
} from '../support/builders.js';
import { createManualClock, settlePromises, type ManualClock } from '../support/manual-clock.js';

const bounds: BatchBounds = { maxCount: 10, maxBytes: 1000, maxAgeMs: 1000 };

type UnderTest = {
  readonly clock: ManualClock;
  readonly store: MemoryStore;
  readonly batcher: Batcher;
  /** The trigger that `due` resolved with; undefined while it waits. */
  due(): { readonly trigger: Trigger | null | undefined };
};

const stopping: AbortController[] = [];
afterEach(() => stopping.splice(0).forEach((each) => each.abort()));

function createUnderTest(overrides: Partial<BatchBounds> = {}): UnderTest {
  const clock = createManualClock();
  const store = new MemoryStore({
    clock,
    random: () => 0.5,
    capacity: { maxCount: 1000, maxBytes: 1_000_000 },
    dedupe: { maxAgeMs: 1000, maxCount: 1000 },
    log: { maxCount: 10, maxAgeMs: 1000 },
    maxDeadLetters: 10,
    facts: factBounds(),
    onDeadLetterDropped: () => undefined,
  });
  const batcher = createBatcher({
    lane: 'events',
    bounds: { ...bounds, ...overrides },
    clock,
    store,
  });
  return {
    clock,
    store,
    batcher,
    due() {
      const state: { trigger: Trigger | null | undefined } = { trigger: undefined };
      const stop = new AbortController();
      stopping.push(stop);
      void batcher.due(stop.signal).then((trigger) => (state.trigger = trigger));
      return state;
    },
  };
}

describe('a batch leaves', () => {
  it('when it has reached its maximum count', async () => {
    const { store, due } = createUnderTest();
    const state = due();
    await store.append(someEvents(9));
    await settlePromises();
    expect(state.trigger).toBeUndefined();
    await store.append(someEvents(1));
    await settlePromises();
    expect(state.trigger).toBe('size');
  });

  it('when it has reached its maximum bytes', async () => {
    const { store, due } = createUnderTest({ maxBytes: 9 });
    const state = due();
    await store.append(someEvents(2));
    await settlePromises();
    expect(state.trigger).toBeUndefined();
    await store.append(someEvents(1));
    await settlePromises();
    expect(state.trigger).toBe('bytes');
  });

  it('when its oldest envelope has waited for the maximum age, and not before', async () => {
    const { clock, store, due } = createUnderTest();
    const state = due();
    await store.append(someEvents(1));
    await clock.advance(600);
    await store.append(someEvents(1));
    await clock.advance(399);
    expect(state.trigger).toBeUndefined();
    await clock.advance(1);
    expect(state.trigger).toBe('time');
  });

  it('at once when it is flushed, and the next batch waits again', async () => {
    const { clock, store, batcher, due } = createUnderTest();
    const first = due();
    await store.append(someEvents(1));
    batcher.flush();
    await settlePromises();
    expect(first.trigger).toBe('drain');
    await store.claim('events', claimBounds());
    const second = due();
    await store.append(someEvents(1));
    await clock.advance(999);
    expect(second.trigger).toBeUndefined();
    await clock.advance(1);
    expect(second.trigger).toBe('time');
  });

  it('with the envelopes that waited at a flush, and not with those that arrive after the claim', async () => {
    const { clock, store, batcher, due } = createUnderTest();
    const first = due();
    await store.append(someEvents(1));
    batcher.flush();
    await settlePromises();
    expect(first.trigger).toBe('drain');
    await store.claim('events', claimBounds());
    await store.append(someEvents(1));
    const second = due();
    await clock.advance(999);
    expect(second.trigger).toBeUndefined();
  });

  it('after its maximum age if the flush before found nothing', async () => {
    const { clock, store, batcher, due } = createUnderTest();
    const state = due();
    batcher.flush();
    await settlePromises();
    await store.append(someEvents(1));
    await clock.advance(999);
    expect(state.trigger).toBeUndefined();
    await clock.advance(1);
    expect(state.trigger).toBe('time');
  });

  it('at once as long as it drains', async () => {
    const { store, batcher, due } = createUnderTest();
    batcher.drain();
    for (let round = 0; round < 2; round++) {
      const state = due();
      await store.append(someEvents(1));
      await settlePromises();
      expect(state.trigger).toBe('drain');
      await store.claim('events', claimBounds());
    }
  });

  it('when a retry becomes due, without waiting to be filled', async () => {
    const { clock, store, due } = createUnderTest();
    await store.append(someEvents(1));
    const items = await store.claim('events', claimBounds());
    await store.settle({ lane: 'events', settled: settledAs(items, retry(5000)) });
    const state = due();
    await clock.advance(4999);
    expect(state.trigger).toBeUndefined();
    await clock.advance(1);
    expect(state.trigger).toBe('time');
  });

  it('when a retry becomes due between two maximum ages', async () => {
    const { clock, store, due } = createUnderTest();
    await store.append(someEvents(1));
    const items = await store.claim('events', claimBounds());
    await store.settle({ lane: 'events', settled: settledAs(items, retry(2500)) });
    const state = due();
    await clock.advance(2499);
    expect(state.trigger).toBeUndefined();
    await clock.advance(1);
    expect(state.trigger).toBe('time');
  });

  it('after the rest of its maximum age if its oldest envelope waited before', async () => {
    const { clock, store, due } = createUnderTest();
    await store.append(someEvents(1));
    await clock.advance(400);
    const state = due();
    await clock.advance(599);
    expect(state.trigger).toBeUndefined();
    await clock.advance(1);
    expect(state.trigger).toBe('time');
  });

  it('with what is left of a flush after a full batch', async () => {
    const { store, batcher, due } = createUnderTest();
    await store.append(someEvents(15));
    batcher.flush();
    const full = due();
    await settlePromises();
    expect(full.trigger).toBe('size');
    await store.claim('events', claimBounds({ maxCount: 10 }));
    const rest = due();
    await settlePromises();
    expect(rest.trigger).toBe('drain');
  });

  it('at once when draining begins while envelopes wait', async () => {
    const { store, batcher, due } = createUnderTest();
    const state = due();
    await store.append(someEvents(1));
    await settlePromises();
    expect(state.trigger).toBeUndefined();
    batcher.drain();
    await settlePromises();
    expect(state.trigger).toBe('drain');
  });

  it('no more after the signal aborts, and no timer is left', async () => {
    const { clock, store, batcher } = createUnderTest();
    await store.append(someEvents(1));
    const gone = new AbortController();
    const waiting = batcher.due(gone.signal);
    await settlePromises();
    gone.abort();
    expect(await waiting).toBeNull();
    expect(clock.pending()).toBe(0);
  });
});

describe('the queue of a lane', () => {
  it('needs no timer while it is empty', async () => {
    const { clock, due } = createUnderTest();
    due();
    await settlePromises();
    expect(clock.pending()).toBe(0);
  });

  it('is not read when another lane gets envelopes, and once for each envelope while its batch is filled', async () => {
    const { store, due } = createUnderTest();
    due();
    await store.append(someEvents(1));
    await settlePromises();
    let reads = 0;
    const claimable = store.claimable.bind(store);
    store.claimable = (lane) => {
      reads++;
      return claimable(lane);
    };
    await store.append(someProfiles(5));
    await settlePromises();
    expect(reads).toBe(0);
    await store.append(someEvents(1));
    await settlePromises();
    expect(reads).toBe(1);
  });
});

describe('buildPayloads', () => {
  it('merges the profiles of an item, and leaves the bytes of a single envelope as they are', () => {
    const merge = (payloads: readonly Uint8Array[]) =>
      toBytes(`merged ${toTexts(payloads).join('+')}`);
    const payloads = buildPayloads([anItem('a'), anItem('b', 'c')], { merge });
    expect(toTexts(payloads)).toEqual(['a', 'merged b+c']);
  });
});

describe('selectTrigger', () => {
  const waiting = fc.record({
    count: fc.nat(20),
    bytes: fc.nat(2000),
    oldestAgeMs: fc.option(fc.nat(2000)),
    nextDueMs: fc.constant(null),
  });

  it('returns a trigger exactly when a bound is met', () => {
    fc.assert(
      fc.property(waiting, fc.boolean(), (state, atOnce) => {
        const { count, bytes, oldestAgeMs } = state;
        const isDue =
          count > 0 && (atOnce || count >= 10 || bytes >= 1000 || (oldestAgeMs ?? -1) >= 1000);
        expect(selectTrigger(state, bounds, atOnce) !== null).toBe(isDue);
      }),
    );
  });
});
