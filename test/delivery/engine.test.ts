import { afterEach, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/delivery/destination.js';
import { createEngine, type Engine } from '../../src/delivery/engine.js';
import { createLimiter } from '../../src/delivery/limiter.js';
import type { Lane, Outcome, Sent } from '../../src/envelope.js';
import { createMetrics } from '../../src/metrics.js';
import { MemoryStore } from '../../src/store/memory.js';
import {
  anEvent,
  delivered,
  retryable,
  someEvents,
  someProfiles,
  throttled,
  toTexts,
  unblamed,
} from '../support/builders.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';

type Request = { readonly lane: Lane; readonly at: number; readonly texts: readonly string[] };
/** Decides one payload's outcome from the texts of its request. */
type Script = (text: string, request: Request, number: number) => Outcome;

type UnderTest = {
  readonly clock: ManualClock;
  readonly store: MemoryStore;
  readonly engine: Engine;
  readonly requests: Request[];
};

let running: UnderTest | undefined;
afterEach(async () => {
  const stopped = running?.engine.stop();
  await running?.clock.advance(10_000);
  await stopped;
  await running?.store.close();
  expect(running?.clock.pending()).toBe(0);
});

async function start(script: Script, latencyMs = 5): Promise<UnderTest> {
  const clock = createManualClock();
  const store = new MemoryStore({
    clock,
    random: () => 0.5,
    capacity: { maxCount: 100_000, maxBytes: 100_000_000 },
    dedupe: { maxAgeMs: 60_000, maxCount: 100_000 },
    log: { maxCount: 1000, maxAgeMs: 3_600_000 },
    maxDeadLetters: 1000,
    onDeadLetterDropped: () => undefined,
  });
  const requests: Request[] = [];
  const destination: Destination = {
    merge: (_older, newer) => newer,
    async send(lane, payloads): Promise<Sent> {
      const request = { lane, at: clock.monotonic(), texts: toTexts(payloads) };
      requests.push(request);
      const number = requests.length;
      await new Promise<void>((resolve) => clock.setTimer(latencyMs, resolve));
      const outcomes = request.texts.map((text) => script(text, request, number));
      return { outcomes, status: 200, bytes: 100, durationMs: latencyMs, feedback: null };
    },
    follow: () => Promise.reject(new Error('no import job was begun')),
  };
  const windows = { events: [], profiles: [], imports: [] };
  const bounds = { maxCount: 100, maxBytes: 1_000_000, maxAgeMs: 100 };
  const engine = createEngine({
    buffer: store,
    destination,
    limiter: createLimiter({ clock, bucket: { perSecond: 1000, burst: 1000 }, windows }),
    bounds: { events: bounds, profiles: bounds },
    concurrency: 4,
    policy: { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 0 },
    clock,
    random: () => 0.5,
    metrics: createMetrics('test'),
    log: { info: () => undefined, warn: () => undefined },
    onFault: (error) => {
      throw error;
    },
  });
  await engine.start();
  running = { clock, store, engine, requests };
  return running;
}

const left = (store: MemoryStore): number =>
  store.depth('events').count + store.depth('profiles').count;

describe('the loop', () => {
  it('sends what waits in full batches, oldest first', async () => {
    const { clock, store, requests } = await start(() => delivered);
    await store.append(someEvents(250));
    await clock.advance(1000);
    expect(requests.map(({ texts }) => texts.length)).toEqual([100, 100, 50]);
    expect(requests.flatMap(({ texts }) => texts)).toEqual(
      Array.from({ length: 250 }, (_, index) => `n${index}`),
    );
    expect(left(store)).toBe(0);
  });

  it('sends the same bytes again after a failure', async () => {
    const { clock, store, requests } = await start((_text, _request, number) =>
      number === 1 ? retryable() : delivered,
    );
    await store.append(someEvents(3));
    await clock.advance(5000);
    expect(requests.map(({ texts }) => texts)).toEqual([
      ['n0', 'n1', 'n2'],
      ['n0', 'n1', 'n2'],
    ]);
    expect(left(store)).toBe(0);
  });

  it('a lane that fails never holds up the other', async () => {
    const { clock, store, requests } = await start((_text, { lane }) =>
      lane === 'profiles' ? retryable() : delivered,
    );
    await store.append(someProfiles(10));
    for (let round = 0; round < 50; round++) {
      await store.append([anEvent()]);
      await clock.advance(200);
    }
    expect(store.depth('events').count).toBe(0);
    expect(store.depth('profiles').count).toBe(10);
    const events = requests.filter(({ lane }) => lane === 'events');
    expect(events).toHaveLength(50);
  });

  it('a 429 pauses the lane for what it says', async () => {
    const { clock, store, requests } = await start((_text, _request, number) =>
      number === 1 ? throttled(5000) : delivered,
    );
    await store.append(someEvents(1));
    await clock.advance(20_000);
    expect(requests).toHaveLength(2);
    expect(requests[1]!.at - requests[0]!.at).toBeGreaterThanOrEqual(5000);
  });

  it('an outage is probed with little, and ends in full batches', async () => {
    let down = true;
    const { clock, store, requests } = await start(() => (down ? retryable() : delivered));
    await store.append(someEvents(1000));
    await clock.advance(60_000);
    const probes = requests.slice(8);
    expect(probes.length).toBeGreaterThan(3);
    expect(probes.length).toBeLessThan(60);
    expect(Math.max(...probes.map(({ texts }) => texts.length))).toBeLessThanOrEqual(10);
    down = false;
    const before = requests.length;
    await clock.advance(30_000);
    expect(left(store)).toBe(0);
    expect(Math.max(...requests.slice(before).map(({ texts }) => texts.length))).toBe(100);
  });

  it('an event that makes the far side fail for ever ends up alone, and all others are delivered', async () => {
    const { clock, store, requests } = await start((_text, { texts }) =>
      texts.includes('n37') ? retryable() : delivered,
    );
    await store.append(someEvents(100));
    await clock.advance(120_000);
    expect(left(store)).toBe(1);
    expect(requests.at(-1)?.texts).toEqual(['n37']);
  });

  it('stopped in the middle of a split it puts the rest back, and nothing is lost or decided', async () => {
    const { clock, store, engine, requests } = await start(() => unblamed('bisect'), 1000);
    await store.append(someEvents(64));
    await clock.advance(1500);
    const stopped = engine.stop();
    await clock.advance(5000);
    await stopped;
    expect(requests.length).toBeLessThan(5);
    expect(store.depth('events')).toMatchObject({ count: 64, deadLetters: 0 });
    expect(store.waiting('events').count).toBe(64);
  });
});
