import { describe, expect, it } from 'vitest';
import { LaneHealth, LanePauses } from '../../src/delivery/lane-state.js';
import { Isolation, type FailedPart, type SharedFailure } from '../../src/delivery/isolation.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import { FailureHistory } from '../../src/delivery/judge.js';
import type { BatchItem } from '../../src/model/envelope.js';
import type { Outcome } from '../../src/model/outcome.js';
import type { SettledEnvelope } from '../../src/model/store.js';
import {
  ack,
  anEnvelope,
  anItem,
  aProfile,
  delivered,
  failed,
  rejected,
  retry,
  retryable,
  someEvents,
  someItems,
  someProfiles,
  toText,
} from '../support/builders.js';
import { createManualClock, settlePromises, type ManualClock } from '../support/manual-clock.js';
import { buffered, useEngines, type Request } from './fixture.js';
import { mapLanes } from '../../src/model/lane.js';

const start = useEngines();

const batch = (maxCount: number) => ({ maxCount, maxBytes: 5_000_000, maxAgeMs: 100 });
const large = { bounds: mapLanes((lane) => batch(lane === 'profiles' ? 10_000 : 1000)) };

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

describe('the isolation of a lane', () => {
  const failure: SharedFailure = {
    ...{ kind: 'retryable', mayBeContent: true },
    reason: { code: 'unavailable', detail: 'Klaviyo answered 500' },
  };
  const policy = { baseMs: 500, maxDelayMs: 60_000, maxAttempts: 0, maxAgeMs: 0 };

  function createUnderTest({
    maxItems = 100,
    send = () => [],
  }: {
    maxItems?: number;
    /** Returns the parts to send again. */
    send?: (texts: readonly string[], number: number) => readonly (readonly BatchItem[])[];
  } = {}) {
    const clock = createManualClock();
    const lane = 'events' as const;
    const log = { info: () => undefined, warn: () => undefined };
    const pauses = new LanePauses({ lane, clock, log });
    const health = new LaneHealth({ pauses, policy, concurrency: 4, bounds: batch(1000) });
    const limiter = createLocalLimiter({
      clock,
      bucket: { perSecond: 0.001, burst: 50 },
      windows: { events: [], profiles: [], imports: [] },
    });
    const settled: SettledEnvelope[] = [];
    const reported: SettledEnvelope[] = [];
    const sent: (readonly string[])[] = [];
    const isolation = new Isolation({
      ...{ lane, clock, pauses, policy, health, limiter, maxItems },
      random: () => 0.5,
      failureHistory: new FailureHistory({ clock, maxAgeMs: 0 }),
      signal: new AbortController().signal,
      store: {
        settle(settlement) {
          settled.push(...settlement.settled);
          return Promise.resolve();
        },
      },
      send({ items }) {
        const texts = items.flat().map(toText);
        return Promise.resolve(send(texts, sent.push(texts)));
      },
      onSettled: (each) => void reported.push(...each),
      onFatal: (error) => expect.fail(String(error)),
    });
    const fail = (count: number) =>
      isolation.add({ items: someItems(count), trigger: 'size', failure, passes: 0 });
    const diagnose = (items: readonly BatchItem[], outcome: Outcome = failed, cause?: FailedPart) =>
      isolation.diagnose(
        items,
        items.map(() => outcome),
        cause,
      );
    return { clock, pauses, health, limiter, isolation, settled, reported, sent, fail, diagnose };
  }

  const aCause: FailedPart = { items: someItems(4), trigger: 'size', failure, passes: 0 };
  const blockedByPage: Outcome = { ...failure, kind: 'blocked' };

  it('halves a batch that failed as a whole and whose content may be the cause', () => {
    const { diagnose } = createUnderTest();
    expect(diagnose(someItems(2))).toMatchObject({
      next: 'halve',
      failure: failed,
      isUndecided: true,
    });
    expect(diagnose(someItems(2), blockedByPage)).toMatchObject({ next: 'halve' });
  });

  it.each<[string, readonly Outcome[]]>([
    ['some of its items were delivered', [failed, delivered]],
    ['its items failed in different ways', [failed, blockedByPage]],
    ['the content of one item cannot be the cause', [failed, retryable()]],
    ['its content cannot be the cause', [retryable(), retryable()]],
    ['it was rejected', [rejected, rejected]],
    ['it has no outcomes', []],
  ])('judges a batch if %s', (_name, outcomes) => {
    const { isolation } = createUnderTest();
    expect(isolation.diagnose(someItems(2), outcomes, undefined)).toEqual({
      outcomes,
      failure: null,
      haveOthersPassed: false,
      next: 'judge',
    });
  });

  it('judges a batch in an outage, and a single envelope that failed for the first time', () => {
    const { pauses, diagnose } = createUnderTest();
    expect(diagnose(someItems(1))).toMatchObject({ next: 'judge', isUndecided: false });
    pauses.begin('outage', failure.reason);
    expect(diagnose(someItems(2))).toMatchObject({ next: 'judge', isUndecided: false });
  });

  it('halves no further batch while its maximum of items waits, but halves the parts of an earlier one', async () => {
    const { clock, limiter, isolation, fail, diagnose } = createUnderTest({ maxItems: 4 });
    limiter.pause('events', 60_000);
    fail(3);
    expect(diagnose(someItems(2)).next).toBe('halve');
    fail(1);
    expect(diagnose(someItems(2))).toMatchObject({ next: 'judge', isUndecided: true });
    expect(diagnose(someItems(2), failed, aCause).next).toBe('halve');
    expect(diagnose(someItems(1))).toMatchObject({ isUndecided: false });
    await clock.advance(61_000);
    await isolation.idle();
    expect(diagnose(someItems(2)).next).toBe('halve');
  });

  it('halves further batches again after the parts of earlier ones returned to the store', async () => {
    const { pauses, isolation, fail, diagnose } = createUnderTest({ maxItems: 4 });
    pauses.begin('by_hand', failure.reason);
    fail(4);
    await isolation.idle();
    pauses.end('by_hand');
    expect(diagnose(someItems(2)).next).toBe('halve');
  });

  it.each([
    ['failed alone before', { alone: true, attempts: 1 }, 'isolate'],
    ['is alone for the first time', { alone: true, attempts: 0 }, 'judge'],
    ['failed together with others before', { attempts: 1 }, 'judge'],
  ])('decides about an envelope that %s: %o → %s', (_name, overrides, next) => {
    const { diagnose } = createUnderTest();
    const item: BatchItem = [{ ...anEnvelope(), ...overrides }];
    expect(diagnose([item])).toMatchObject({ next, hasFailedAlone: next === 'isolate' });
  });

  it('isolates an envelope that fails while others succeed, and does not count it as a blocked lane', () => {
    const { health, diagnose } = createUnderTest();
    expect(diagnose(someItems(1), blockedByPage, aCause).next).toBe('judge');
    health.noteOutcomes([delivered], 0);
    expect(diagnose(someItems(1), blockedByPage, aCause)).toMatchObject({
      next: 'isolate',
      haveOthersPassed: true,
      outcomes: [{ kind: 'retryable', reason: failure.reason }],
    });
    expect(diagnose(someItems(2), failed, aCause).next).toBe('halve');
  });

  it('sends the profiles of a merged one separately if only it fails', () => {
    const { health, diagnose } = createUnderTest();
    health.noteOutcomes([delivered], 0);
    expect(diagnose([anItem('a', 'b')], failed, aCause).next).toBe('unmerge');
    expect(diagnose([anItem('a')], failed, aCause).next).toBe('isolate');
  });

  it('delays each envelope that fails alone by two seconds for each of them, until they are settled', () => {
    const { isolation } = createUnderTest();
    const [one, two] = [anEnvelope(), anEnvelope()];
    expect(isolation.isolatedDelayMs(one.id, 500)).toBe(2000);
    expect(isolation.isolatedDelayMs(one.id, 9000)).toBe(9000);
    expect(isolation.isolatedDelayMs(two.id, 500)).toBe(4000);
    isolation.forgetSettled([{ envelope: one, verdict: retry() }]);
    expect(isolation.isolatedDelayMs(two.id, 500)).toBe(4000);
    isolation.forgetSettled([{ envelope: one, verdict: ack }]);
    expect(isolation.isolatedDelayMs(two.id, 500)).toBe(2000);
    isolation.forgetSettled([{ envelope: two, verdict: ack }]);
    expect(isolation.isolatedDelayMs(one.id, 500)).toBe(2000);
  });

  it('sends every second item together, and the parts that failed again before the others', async () => {
    const { isolation, sent, fail } = createUnderTest({
      send: (_texts, number) => (number === 1 ? [[anItem('n0')], [anItem('n2')]] : []),
    });
    fail(4);
    await isolation.idle();
    expect(sent).toEqual([['n0', 'n2'], ['n0'], ['n2'], ['n1', 'n3']]);
    expect(isolation.isBusy).toBe(false);
  });

  it('sends one part if only one item failed', async () => {
    const { isolation, sent, fail } = createUnderTest();
    fail(1);
    expect(isolation.isBusy).toBe(true);
    await isolation.idle();
    expect(sent).toEqual([['n0']]);
  });

  it('sends one item at a time, drawn at random, while one more failure makes an outage', async () => {
    const { health, isolation, sent, fail } = createUnderTest();
    for (let time = 0; time < 2; time++) health.noteOutcomes([retryable()], 0);
    fail(4);
    await isolation.idle();
    expect(sent).toEqual([['n2'], ['n0'], ['n3'], ['n1']]);
  });

  it('reports each request of a part, and its end', async () => {
    const { clock, limiter, isolation, fail } = createUnderTest();
    const changes: number[] = [];
    const never = new AbortController().signal;
    limiter.pause('events', 5000);
    fail(1);
    void isolation.changed(never).then(() => changes.push(clock.monotonic()));
    await clock.advance(4000);
    expect(changes).toEqual([]);
    await clock.advance(2000);
    expect(changes).toEqual([5000]);
  });

  it('returns the parts unchanged and at once if the lane is paused by hand, and takes no token', async () => {
    const { limiter, pauses, isolation, settled, reported, fail } = createUnderTest();
    pauses.begin('by_hand', failure.reason);
    limiter.pause('events', 3_600_000);
    fail(3);
    await isolation.idle();
    const unchanged = { kind: 'retry', afterMs: 0, countAttempt: false };
    expect(settled.map(({ verdict }) => verdict)).toMatchObject([unchanged, unchanged, unchanged]);
    expect(reported).toEqual(settled);
    expect(limiter.tokens()).toBe(50);
  });

  it('returns the token if the lane is paused while a part waits for its permit', async () => {
    const { clock, limiter, pauses, isolation, settled, sent, fail } = createUnderTest();
    limiter.pause('events', 1000);
    fail(3);
    await clock.advance(500);
    pauses.begin('by_hand', failure.reason);
    await clock.advance(600);
    await isolation.idle();
    expect(sent).toEqual([]);
    expect(settled).toHaveLength(3);
    expect(limiter.tokens()).toBe(50);
  });

  it('returns the parts with an attempt and a backoff in an outage, but unchanged if an operator paused the lane too', async () => {
    const { pauses, isolation, settled, fail } = createUnderTest();
    pauses.begin('outage', failure.reason);
    fail(1);
    await isolation.idle();
    pauses.begin('by_hand', failure.reason);
    fail(1);
    await isolation.idle();
    expect(settled.map(({ verdict }) => verdict)).toMatchObject([
      { kind: 'retry', afterMs: 250, countAttempt: true, reason: failure.reason },
      { kind: 'retry', afterMs: 0, countAttempt: false },
    ]);
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
