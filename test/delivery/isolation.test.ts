import { describe, expect, it } from 'vitest';
import { LaneHealth, LanePauses } from '../../src/delivery/lane-state.js';
import { Isolation, type SharedFailure } from '../../src/delivery/isolation.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import { FailureHistory } from '../../src/delivery/judge.js';
import type { Outcome } from '../../src/model/outcome.js';
import {
  aProfile,
  delivered,
  failed,
  retryable,
  someEvents,
  someItems,
  someProfiles,
} from '../support/builders.js';
import { createManualClock, settlePromises, type ManualClock } from '../support/manual-clock.js';
import { buffered, useEngines, type Request } from './fixture.js';

const start = useEngines();

const batch = (maxCount: number) => ({ maxCount, maxBytes: 5_000_000, maxAgeMs: 100 });
const large = { bounds: { events: batch(1000), profiles: batch(10_000) } };

/** Fails every request that contains one of these texts. */
const poisonedBy =
  (...texts: readonly string[]) =>
  (_text: string, request: Request): Outcome =>
    request.texts.some((text) => texts.includes(text)) ? failed : delivered;

/** A limiter with Klaviyo's rate windows. */
const klaviyoLimiter = (clock: ManualClock) => {
  const windows = [
    { limit: 10, windowMs: 1000 },
    { limit: 150, windowMs: 60_000 },
  ];
  return createLocalLimiter({
    clock,
    bucket: { perSecond: 75, burst: 75 },
    windows: { events: windows, profiles: windows, imports: windows },
  });
};

describe('a record that makes Klaviyo fail without a pointer to it', () => {
  it('is found among 1,000 within 2·log2(n) requests, and the other records are delivered at once', async () => {
    const { append, advance, requests, store, engine } = await start(poisonedBy('n437'), {
      overrides: large,
    });
    await append(someEvents(1000));
    await advance(500);
    expect(store.depth('events').count).toBe(1);
    expect(requests.length).toBeLessThanOrEqual(1 + 2 * Math.log2(1000) + 4);
    expect(engine.pauses().events).toEqual([]);
  });

  it.each([0, 1, 2, 499, 500, 511, 998, 999])('is found at index %i of 1,000', async (at) => {
    const { append, advance, requests, store } = await start(poisonedBy(`n${at}`), {
      overrides: large,
    });
    await append(someEvents(1000));
    await advance(500);
    expect(store.depth('events').count).toBe(1);
    expect(requests.length).toBeLessThanOrEqual(25);
  });

  it('is found among 10,000 profiles as fast', async () => {
    const { append, advance, requests, store } = await start(poisonedBy('n7777'), {
      overrides: large,
    });
    await append(someProfiles(10_000));
    await advance(1000);
    expect(store.depth('profiles').count).toBe(1);
    expect(requests.length).toBeLessThanOrEqual(1 + 2 * Math.log2(10_000) + 4);
  });

  it('is found among 87 merged updates of one person, without delaying the updates before it', async () => {
    const { append, advance, store } = await start(
      (_text, { texts }) => (texts.join().includes('bad') ? failed : delivered),
      { overrides: large },
    );
    const ofOne = (text: string) => aProfile({ text, keys: ['one'] });
    await append(someProfiles(100));
    await append([...Array.from({ length: 86 }, (_, index) => ofOne(`u${index}`)), ofOne('bad')]);
    await advance(5000);
    expect(store.depth('profiles').count).toBe(1);
  });

  it.each([
    ['spread over the batch', Array.from({ length: 10 }, (_, index) => `n${index * 97}`)],
    ['next to each other', Array.from({ length: 10 }, (_, index) => `n${300 + index}`)],
  ])(
    'that occurs ten times among 1,000, %s, does not delay the others by minutes',
    async (_name, bad) => {
      const { append, advance, requests, store } = await start(poisonedBy(...bad), {
        overrides: large,
      });
      await append(someEvents(1000));
      await advance(5000);
      expect(store.depth('events').count).toBe(10);
      expect(requests.length).toBeLessThanOrEqual(10 * 2 * Math.log2(1000));
    },
  );

  it('causes no outage if each of ten batches in flight has one', async () => {
    const bad = Array.from({ length: 10 }, (_, index) => `n${index * 1000 + 500}`);
    const { append, advance, store } = await start(poisonedBy(...bad), { overrides: large });
    await append(someEvents(10_000));
    await advance(10_000);
    expect(store.depth('events').count).toBe(10);
  });

  it('is sent again alone with its own backoff, without pausing the lane or using up its requests', async () => {
    const bad = Array.from({ length: 30 }, (_, index) => `n${index * 30}`);
    const clock = createManualClock();
    const { append, advance, requests, store, engine } = await start(poisonedBy(...bad), {
      clock,
      overrides: { ...large, limiter: klaviyoLimiter(clock) },
    });
    await append(someEvents(1000));
    await advance(240_000);
    expect(store.depth('events').count).toBe(30);
    const before = requests.length;
    for (let second = 0; second < 60; second++) {
      await append(someEvents(100, `new${second}-`));
      await advance(1000);
      expect(engine.pauses().events).toEqual([]);
    }
    await advance(2000);
    expect(store.depth('events').count).toBe(30);
    const alone = requests.slice(before).filter(({ texts }) => bad.includes(texts[0] ?? ''));
    expect(alone.length).toBeGreaterThan(5);
    expect(alone.length).toBeLessThan(35);
    expect(alone.every(({ texts }) => texts.length === 1)).toBe(true);
  }, 20_000);

  it('is delivered once Klaviyo accepts it', async () => {
    let isBad = true;
    const { append, advance, store } = await start(
      (_text, { texts }) => (isBad && texts.includes('n5') ? failed : delivered),
      { overrides: large },
    );
    await append(someEvents(100));
    await advance(20_000);
    expect(store.depth('events').count).toBe(1);
    isBad = false;
    await advance(10_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
  });

  it('becomes the only dead letter if the attempts are limited', async () => {
    const policy = { baseMs: 500, maxDelayMs: 4000, maxAttempts: 4, maxAgeMs: 0 };
    const { append, advance, store } = await start(poisonedBy('n5'), {
      overrides: { ...large, policy },
    });
    await append(someEvents(100));
    await advance(60_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 1 });
    const { data } = await store.deadLetters({}, { limit: 10 });
    expect(data[0]?.reason.code).toBe('attempts_exhausted');
  });

  it('does not delay later envelopes if there was nothing else to send', async () => {
    const { append, advance, store, requests } = await start(poisonedBy('bad0'), {
      overrides: large,
    });
    await append(someEvents(1, 'bad'));
    await advance(60_000);
    const before = requests.length;
    await append(someEvents(9));
    await advance(6000);
    expect(store.depth('events').count).toBe(1);
    expect(requests.length - before).toBeLessThan(6);
  });

  it('is isolated within the rate windows', async () => {
    const clock = createManualClock();
    const bad = Array.from({ length: 10 }, (_, index) => `n${index * 97}`);
    const { append, advance, requests, store } = await start(poisonedBy(...bad), {
      clock,
      overrides: { ...large, limiter: klaviyoLimiter(clock) },
    });
    await append(someEvents(1000));
    await advance(120_000);
    expect(store.depth('events').count).toBe(10);
    for (const { at } of requests) {
      const within = (ms: number): number =>
        requests.filter((one) => one.at >= at && one.at < at + ms).length;
      expect(within(1000)).toBeLessThanOrEqual(10);
      expect(within(60_000)).toBeLessThanOrEqual(150);
    }
  });

  it('returns to the store with all undecided envelopes when the relay stops', async () => {
    const { append, advance, store, stop } = await start(poisonedBy('n5'), {
      overrides: large,
      latencyMs: 1000,
    });
    await append(someEvents(1000));
    await advance(3500);
    const left = store.depth('events').count;
    expect(left).toBeGreaterThan(100);
    await stop();
    expect(store.claimable('events').count).toBe(store.depth('events').count);
  });
});

describe('an outage', () => {
  it('is recognised after three requests, and costs hardly more requests in minutes than without halving', async () => {
    const count = async (outcome: Outcome): Promise<number> => {
      let isDown = true;
      const { append, advance, requests, store } = await start(
        () => (isDown ? outcome : delivered),
        { overrides: large },
      );
      await append(someEvents(5000));
      await advance(300_000);
      const { length } = requests;
      isDown = false;
      await advance(60_000);
      expect(buffered(store)).toBe(0);
      return length;
    };
    const unhalved = retryable();
    const [halved, asBefore] = [await count(failed), await count(unhalved)];
    expect(halved).toBeLessThanOrEqual(asBefore + 2);
  }, 20_000);

  it('is not assumed if a fifth of the requests fail, and everything is delivered', async () => {
    let number = 0;
    const { append, advance, requests, store } = await start(
      (_text, _request, each) => {
        number = each;
        return (each * 7919) % 5 === 0 ? failed : delivered;
      },
      { overrides: large },
    );
    for (let second = 0; second < 30; second++) {
      await append(someEvents(1000, `s${second}-`));
      await advance(1000);
    }
    await advance(10_000);
    expect(buffered(store)).toBe(0);
    expect(number).toBe(requests.length);
    expect(requests.length).toBeLessThan(75);
  });
});

it('a batch that fails while the parts of another one return to the store returns as well', async () => {
  const clock = createManualClock();
  const lane = 'events' as const;
  const pauses = new LanePauses({
    ...{ lane, clock },
    log: { info: () => undefined, warn: () => undefined },
  });
  pauses.begin('by_hand', { code: 'by_hand', detail: 'an operator paused it' });
  const policy = { baseMs: 500, maxDelayMs: 60_000, maxAttempts: 0, maxAgeMs: 0 };
  const failure: SharedFailure = {
    ...{ kind: 'retryable', mayBeContent: true },
    reason: { code: 'unavailable', detail: 'Klaviyo answered 500' },
  };
  const fail = () => isolation.add({ items: someItems(4), trigger: 'size', failure, passes: 0 });
  let returned = 0;
  const isolation: Isolation = new Isolation({
    ...{ lane, clock, pauses, policy, maxItems: 100, random: () => 0 },
    health: new LaneHealth({ pauses, policy, concurrency: 1, bounds: batch(1000) }),
    failureHistory: new FailureHistory({ clock, maxAgeMs: 0 }),
    limiter: klaviyoLimiter(clock),
    signal: new AbortController().signal,
    store: {
      async settle({ settled }) {
        const isFirst = returned === 0;
        returned += settled.length;
        await settlePromises();
        if (isFirst) fail();
      },
    },
    send: () => Promise.resolve([]),
    onSettled: () => undefined,
    onFatal: (error) => expect.fail(String(error)),
  });
  fail();
  await isolation.idle();
  expect(returned).toBe(8);
});
