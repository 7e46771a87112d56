import { describe, expect, it } from 'vitest';
import type { DeliveryStore } from '../../src/model/destination.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import {
  blocked,
  delivered,
  rejected,
  retryable,
  someEvents,
  someProfiles,
  throttled,
  unattributed,
} from '../support/builders.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { buffered, useEngines } from './fixture.js';
import { mapLanes } from '../../src/model/lane.js';

const start = useEngines();

const gapsBetween = (times: readonly number[]): readonly number[] =>
  times.slice(1).map((at, index) => at - times[index]!);

describe('a lane with an unauthorized key', () => {
  it('sends ever rarer probes, counts no attempt, and delivers everything once the key works', async () => {
    let isRefused = true;
    const { engine, store, requests, append, advance } = await start(() =>
      isRefused ? blocked : delivered,
    );
    await append(someEvents(500));
    await advance(600_000);
    expect(engine.pauses().events[0]).toMatchObject({
      kind: 'blocked',
      reason: { code: 'not_authenticated' },
    });
    expect(store.depth('events')).toMatchObject({ count: 500, deadLetters: 0 });
    const first = requests.findIndex(({ at }) => at > 1000);
    const probes = requests.slice(first);
    expect(probes.length).toBeLessThan(15);
    expect(Math.max(...probes.map(({ texts }) => texts.length))).toBeLessThanOrEqual(10);
    const gaps = gapsBetween(probes.map(({ at }) => at));
    for (const [index, gap] of gaps.entries()) {
      expect(gap).toBeGreaterThanOrEqual(0.99 * (gaps[index - 1] ?? 2500));
      expect(gap).toBeLessThanOrEqual(301_000);
    }

    isRefused = false;
    await advance(300_000);
    expect(engine.pauses().events).toEqual([]);
    expect(buffered(store)).toBe(0);
    const envelopes = (await store.deliveries({ result: 'delivered' }, { limit: 1000 })).data;
    // A request that fails because of the key is not counted as an attempt.
    expect(new Set(envelopes.map(({ attempt }) => attempt))).toEqual(new Set([1]));
  });

  it('does not delay the other lane', async () => {
    const { engine, store, append, advance } = await start((_text, { lane }) =>
      lane === 'profiles' ? blocked : delivered,
    );
    await append([...someProfiles(50), ...someEvents(50)]);
    await advance(500);
    expect(store.depth('events').count).toBe(0);
    expect(store.depth('profiles').count).toBe(50);
    expect(engine.pauses()).toMatchObject({ events: [], profiles: [{ kind: 'blocked' }] });
  });
});

describe('a lane of the engine', () => {
  it('pauses after a 429 without delaying the other lane', async () => {
    const { requests, append, advance } = await start((_text, { lane }, number) =>
      lane === 'profiles' && number < 10 ? throttled(60_000) : delivered,
    );
    await append(someProfiles(1));
    await advance(500);
    for (let round = 0; round < 20; round++) {
      await append(someEvents(1));
      await advance(200);
    }
    expect(requests.filter(({ lane }) => lane === 'events')).toHaveLength(20);
    expect(requests.filter(({ lane }) => lane === 'profiles')).toHaveLength(1);
  });

  it('does not delay the other lane if it is slow, and limits its requests in flight', async () => {
    const { klaviyo, store, append, advance } = await start(() => delivered, { latencyMs: 3000 });
    await append([...someEvents(2000), ...someProfiles(1)]);
    await advance(2000);
    expect(klaviyo.busiest.events).toBe(4);
    await advance(1500);
    expect(store.depth('profiles').count).toBe(0);
    expect(store.depth('events').count).toBe(1600);
  });

  it('has one request in flight during an outage', async () => {
    let isDown = true;
    const { engine, klaviyo, requests, append, advance } = await start(
      () => (isDown ? retryable() : delivered),
      { latencyMs: 50 },
    );
    await append(someEvents(300));
    await advance(20_000);
    expect(engine.pauses().events[0]?.kind).toBe('outage');
    expect(klaviyo.busiest.events).toBeLessThanOrEqual(4);
    const probes = requests.filter(({ at }) => at > 5000);
    expect(Math.min(...gapsBetween(probes.map(({ at }) => at)))).toBeGreaterThanOrEqual(50);
    isDown = false;
    await advance(20_000);
    expect(engine.pauses().events).toEqual([]);
  });

  it('sends its envelopes at a flush, whatever their age', async () => {
    const slow = { maxCount: 100, maxBytes: 1_000_000, maxAgeMs: 60_000 };
    const { engine, requests, append, advance } = await start(() => delivered, {
      overrides: { bounds: mapLanes(() => slow) },
    });
    await append([...someEvents(3), ...someProfiles(3)]);
    await advance(1000);
    expect(requests).toEqual([]);
    engine.flush('events');
    await advance(100);
    expect(requests.map(({ lane }) => lane)).toEqual(['events']);
    engine.flush();
    await advance(100);
    expect(requests.map(({ lane }) => lane)).toEqual(['events', 'profiles']);
    engine.drain();
    await append(someEvents(1));
    await advance(100);
    expect(requests).toHaveLength(3);
  });
});

describe('a batch that another relay may have taken over during the wait for its permit', () => {
  /** The last result of `stillOwned`. */
  let isHeld = true;
  /** A store whose `stillOwned` returns false for the first calls. */
  const losing = (polls: number) => (store: DeliveryStore) => {
    store.stillOwned = () => (isHeld = polls-- <= 0);
    return Promise.resolve();
  };

  it('is not sent, cancels its permit, and can be claimed again', async () => {
    // One token, and no further token for a day.
    const limiter = (clock: ManualClock) =>
      createLocalLimiter({
        clock,
        bucket: { perSecond: 1 / 86_400, burst: 1 },
        windows: { events: [], profiles: [], imports: [] },
      });
    const clock = createManualClock();
    const heldWhenSent: boolean[] = [];
    const script = () => {
      heldWhenSent.push(isHeld);
      return delivered;
    };
    const { requests, store, append, advance } = await start(script, {
      clock,
      overrides: { limiter: limiter(clock) },
      prepare: losing(3),
    });
    await append(someEvents(5));
    await advance(1000);
    expect(heldWhenSent).toEqual([true, true, true, true, true]);
    expect(requests.map(({ texts }) => texts)).toEqual([['n0', 'n1', 'n2', 'n3', 'n4']]);
    expect(store.depth('events').count).toBe(0);
  });

  it('is checked for ownership until its request has ended', async () => {
    let held = true;
    const { klaviyo, append, advance } = await start(() => delivered, {
      latencyMs: 50,
      prepare: (store: DeliveryStore) => {
        store.stillOwned = () => held;
        return Promise.resolve();
      },
    });
    await append(someEvents(100));
    await advance(20);
    held = false;
    await advance(100);
    expect(klaviyo.ownedAtEnd[0]).toBe(false);
    held = true;
  });

  it('counts no attempt for its envelopes', async () => {
    const { store, append, advance } = await start(() => delivered, { prepare: losing(3) });
    await append(someEvents(1));
    await advance(1000);
    const { data } = await store.deliveries({ lane: 'events' }, { limit: 10 });
    expect(data).toHaveLength(1);
    expect(data[0]).toMatchObject({ attempt: 1, count: 1, delivered: 1 });
  });

  it('sends the remaining parts if one part of a split is no longer owned', async () => {
    let polls = 0;
    const { requests, store, append, advance } = await start(
      (_text, { texts }) => {
        if (!texts.includes('n3')) return delivered;
        return texts.length === 1 ? rejected : unattributed('bisect');
      },
      {
        prepare: (buffer: DeliveryStore) => {
          // The first half of the split batch.
          buffer.stillOwned = () => ++polls !== 2;
          return Promise.resolve();
        },
      },
    );
    await append(someEvents(8));
    await advance(5000);
    const sent = requests.map(({ texts }) => texts).filter((texts) => !texts.includes('n3'));
    expect(sent.flat().sort()).toEqual(['n0', 'n1', 'n2', 'n4', 'n5', 'n6', 'n7']);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 1 });
  });
});

describe('a failing store', () => {
  it('is reported as fatal once when a claim fails, and the lane claims no more', async () => {
    const { store: broken, append, advance, fatalErrors } = await start(() => delivered);
    broken.claim = () => Promise.reject(new Error('disk is gone'));
    await append(someEvents(1));
    await advance(5000);
    expect(fatalErrors.splice(0)).toEqual([new Error('disk is gone')]);
  });

  it('is reported as fatal when settling a batch fails', async () => {
    const { store: broken, append, advance, fatalErrors } = await start(() => delivered);
    const settle = broken.settle.bind(broken);
    broken.settle = () => Promise.reject(new Error('disk is full'));
    await append(someEvents(1));
    await advance(1000);
    expect(fatalErrors.splice(0)).toEqual([new Error('disk is full')]);
    broken.settle = settle;
  });
});
