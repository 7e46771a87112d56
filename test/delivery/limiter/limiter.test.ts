import { setMaxListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLocalLimiter, type LimiterOptions } from '../../../src/delivery/limiter/limiter.js';
import type { Limiter } from '../../../src/model/limiter.js';
import type { RateFeedback, RateWindow } from '../../../src/model/limiter.js';
import { createManualClock, settlePromises, type ManualClock } from '../../support/manual-clock.js';

const klaviyo: readonly RateWindow[] = [
  { limit: 10, windowMs: 1000 },
  { limit: 150, windowMs: 60_000 },
];
const never = new AbortController().signal;
setMaxListeners(0, never);
const wide = { perSecond: 100_000, burst: 100_000 };

function createUnderTest(windows: readonly RateWindow[], bucket: LimiterOptions['bucket'] = wide) {
  const clock = createManualClock();
  /** The seconds that each request waited. */
  const waits: number[] = [];
  const limiter = createLocalLimiter({
    clock,
    bucket,
    windows: { events: windows, profiles: windows, imports: windows },
    onWaited: (seconds) => void waits.push(seconds),
  });
  /** Begins to acquire a permit. `grantedAt` is undefined while the request waits. */
  const begin = () => {
    const request: { grantedAt?: number } = {};
    void limiter.acquire('events', never).then(() => (request.grantedAt = clock.monotonic()));
    return request;
  };
  return { clock, limiter, waits, begin };
}

const feedback = (overrides: Partial<RateFeedback>): RateFeedback => ({
  windows: [],
  remaining: null,
  remainingOf: null,
  resetMs: null,
  retryAfterMs: null,
  ...overrides,
});

/** Sends as fast as the limiter allows until `untilMs`. Returns when each request left. */
async function saturate(
  { clock, limiter }: { clock: ManualClock; limiter: Limiter },
  {
    untilMs,
    latencyMs = 20,
    concurrency = 8,
  }: { untilMs: number; latencyMs?: number; concurrency?: number },
): Promise<number[]> {
  const left: number[] = [];
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal);
  const sender = async (): Promise<void> => {
    for (;;) {
      const permit = await limiter.acquire('events', stopping.signal);
      if (permit === null) return;
      left.push(clock.monotonic());
      await new Promise<void>((resolve) => clock.setTimer(latencyMs, resolve));
      permit.end(null);
    }
  };
  const senders = Array.from({ length: concurrency }, sender);
  while (clock.monotonic() < untilMs)
    await clock.advance(Math.min(500, untilMs - clock.monotonic()));
  stopping.abort();
  await clock.advance(latencyMs + 1);
  await Promise.all(senders);
  return left.filter((at) => at < untilMs);
}

const gaps = (times: readonly number[]): number[] =>
  times.slice(1).map((at, index) => at - times[index]!);

describe('a saturated limiter', () => {
  it("uses Klaviyo's windows fully and at an even pace", async () => {
    const left = await saturate(createUnderTest(klaviyo), { untilMs: 180_000 });
    expect(left.length).toBeGreaterThanOrEqual(0.99 * 450);
    expect(left.length).toBeLessThanOrEqual(451);
    // The burst at the start makes the spacing of the first minute wider.
    expect(Math.max(...gaps(left))).toBeLessThanOrEqual(1.5 * 400);
    expect(Math.max(...gaps(left.filter((at) => at > 120_000)))).toBeLessThanOrEqual(1.1 * 400);
  });

  it('allows a burst after an idle time, and then keeps the pace', async () => {
    const under = createUnderTest(klaviyo);
    await under.clock.advance(120_000);
    const left = await saturate(under, { untilMs: 130_000, latencyMs: 1, concurrency: 20 });
    // 10 a second, less the 3 that follow at the even pace within that second.
    expect(left.filter((at) => at < 120_100)).toHaveLength(7);
    expect(Math.min(...gaps(left.slice(8)))).toBeGreaterThan(390);
    expect(Math.min(...gaps(left.slice(6)))).toBeGreaterThan(300);
  });

  it('is limited only by the bucket if there are no windows', async () => {
    const left = await saturate(createUnderTest([], { perSecond: 10, burst: 5 }), {
      untilMs: 10_000,
      latencyMs: 1,
    });
    expect(left.length).toBeGreaterThanOrEqual(5 + 98);
    expect(left.length).toBeLessThanOrEqual(5 + 100);
  });
});

describe('a sliding window at Klaviyo never has more requests than its limit', () => {
  const windowList = fc
    .tuple(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 100, max: 2000 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 2, max: 10 }),
    )
    .map(([limit, windowMs, factor, longer]): RateWindow[] => [
      { limit, windowMs },
      { limit: limit * factor, windowMs: windowMs * longer },
    ]);
  /** For each request: the time after the one before, the latency, and the share of the latency until it arrives. */
  const demand = fc.array(
    fc.record({
      idleMs: fc.integer({ min: 0, max: 800 }),
      latencyMs: fc.integer({ min: 0, max: 1500 }),
      arrives: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    { minLength: 5, maxLength: 60 },
  );

  it('for any windows, latencies and demand', async () => {
    await fc.assert(
      fc.asyncProperty(windowList, demand, async (windows, requests) => {
        const { clock, limiter } = createUnderTest(windows);
        const arrivals: number[] = [];
        const sent: Promise<void>[] = [];
        for (const { idleMs, latencyMs, arrives } of requests) {
          if (idleMs > 400) await clock.advance(idleMs);
          sent.push(
            limiter.acquire('events', never).then(async (permit) => {
              arrivals.push(clock.monotonic() + latencyMs * arrives);
              await new Promise<void>((resolve) => clock.setTimer(latencyMs, resolve));
              permit?.end(null);
            }),
          );
        }
        const state = { done: false };
        void Promise.all(sent).then(() => (state.done = true));
        for (let turn = 0; !state.done && turn < 2000; turn++) await clock.advance(500);
        expect(state.done).toBe(true);
        arrivals.sort((a, b) => a - b);
        for (const { limit, windowMs } of windows) {
          arrivals.forEach((at, index) => {
            const beyond = arrivals[index + limit];
            // Floating-point times: Klaviyo's clock is assumed to have microseconds.
            if (beyond !== undefined) expect(beyond - at).toBeGreaterThanOrEqual(windowMs - 0.001);
          });
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

describe('the limiter after a response', () => {
  it('pauses at least as long as requested, and then sends requests one by one', async () => {
    const under = createUnderTest(klaviyo);
    under.limiter.pause('events', 5000);
    const left = await saturate(under, { untilMs: 8000, latencyMs: 1 });
    expect(left[0]).toBe(5000);
    expect(left).toHaveLength(8);
    expect(Math.min(...gaps(left))).toBeGreaterThan(390);
  });

  it('pauses an endpoint without windows for the longest requested time', async () => {
    const { clock, limiter, begin } = createUnderTest([]);
    limiter.pause('events', 5000);
    limiter.pause('events', 10);
    const request = begin();
    await clock.advance(6000);
    expect(request.grantedAt).toBe(5000);
  });

  it('keeps the even pace after a pause, without a burst', async () => {
    const under = createUnderTest(klaviyo);
    const before = await saturate(under, { untilMs: 3000, latencyMs: 1 });
    const resumesAt = under.clock.monotonic() + 5000;
    under.limiter.pause('events', 5000);
    const left = await saturate(under, { untilMs: 20_000, latencyMs: 1, concurrency: 20 });
    expect(before.length).toBeGreaterThan(7);
    expect(left[0]).toBe(resumesAt);
    expect(left.length).toBeGreaterThan(25);
    expect(Math.min(...gaps(left))).toBeGreaterThan(390);
  });

  it('does not end a long pause early because of a short one', async () => {
    const under = createUnderTest(klaviyo);
    under.limiter.pause('events', 5000);
    under.limiter.pause('events', 10);
    expect((await saturate(under, { untilMs: 6000, latencyMs: 1 }))[0]).toBeGreaterThanOrEqual(
      5000,
    );
  });

  it('pauses one endpoint without the others', async () => {
    const { limiter } = createUnderTest(klaviyo);
    limiter.pause('events', 5000);
    expect(await limiter.acquire('profiles', never)).not.toBeNull();
  });

  it('applies an announced limit that is lower, and ignores one that is higher', async () => {
    const under = createUnderTest([{ limit: 10, windowMs: 1000 }]);
    const permit = await under.limiter.acquire('events', never);
    permit?.end(feedback({ windows: [{ limit: 2, windowMs: 1000 }] }));
    const slow = await saturate(under, { untilMs: 20_000, latencyMs: 1 });
    expect(slow.length).toBeLessThanOrEqual(41);
    const other = createUnderTest([{ limit: 10, windowMs: 1000 }]);
    (await other.limiter.acquire('events', never))?.end(
      feedback({ windows: [{ limit: 100, windowMs: 1000 }] }),
    );
    expect((await saturate(other, { untilMs: 5000, latencyMs: 1 })).length).toBeLessThanOrEqual(51);
  });

  it('leaves places for the requests of other clients on the account', async () => {
    const under = createUnderTest([{ limit: 10, windowMs: 1000 }]);
    const permit = await under.limiter.acquire('events', never);
    permit?.end(feedback({ remaining: 2, remainingOf: 10, resetMs: 1000 }));
    const left = await saturate(under, { untilMs: 990, latencyMs: 1, concurrency: 20 });
    expect(left.length).toBeLessThanOrEqual(2);
  });

  it.each([
    ['for the rest of the window if the response has it', 400, 400],
    ['for a window if the response has no rest', null, 1000],
    ['for a window if the rest is zero', 0, 1000],
    ['for a window at most', 5000, 1000],
    ['for a millisecond if that is the rest, so that only the pace delays', 1, 100],
  ])('leaves no place to its own requests %s', async (_name, resetMs, expected) => {
    const { clock, limiter, begin } = createUnderTest([{ limit: 10, windowMs: 1000 }]);
    const permit = await limiter.acquire('events', never);
    permit?.end(feedback({ remaining: 0, remainingOf: 10, resetMs }));
    const request = begin();
    await clock.advance(2000);
    expect(request.grantedAt).toBe(expected);
  });

  it.each([
    ['without the number of requests that are left', { remaining: null, remainingOf: 10 }],
    ['without the limit', { remaining: 0, remainingOf: null }],
    ['with the limit of an unknown window', { remaining: 0, remainingOf: 99 }],
  ])('leaves all places to its own requests if the response is %s', async (_name, said) => {
    const { clock, limiter, begin } = createUnderTest([{ limit: 10, windowMs: 1000 }]);
    (await limiter.acquire('events', never))?.end(feedback(said));
    const request = begin();
    await clock.advance(2000);
    expect(request.grantedAt).toBe(100);
  });

  it('uses exactly the places that other clients leave', async () => {
    const under = createUnderTest([{ limit: 10, windowMs: 1000 }]);
    const permit = await under.limiter.acquire('events', never);
    permit?.end(feedback({ remaining: 2, remainingOf: 10, resetMs: 1000 }));
    const left = await saturate(under, { untilMs: 990, latencyMs: 1, concurrency: 20 });
    expect(left).toHaveLength(2);
  });
});

describe('a burst after an idle time', () => {
  const burst = async (windows: readonly RateWindow[]): Promise<number> => {
    const under = createUnderTest(windows);
    const left = await saturate(under, { untilMs: 10, latencyMs: 1, concurrency: 50 });
    return left.length;
  };

  it('has a fifteenth of the only window, and at least one request', async () => {
    expect(await burst([{ limit: 150, windowMs: 60_000 }])).toBe(10);
    expect(await burst([{ limit: 44, windowMs: 60_000 }])).toBe(2);
    expect(await burst([{ limit: 3, windowMs: 60_000 }])).toBe(1);
  });

  it('is the same in whatever order the windows are given', async () => {
    expect(await burst([...klaviyo].reverse())).toBe(await burst(klaviyo));
  });

  it('has one request if the shortest window allows no more than the even pace', async () => {
    const windows = [
      { limit: 1, windowMs: 1000 },
      { limit: 60, windowMs: 60_000 },
    ];
    const left = await saturate(createUnderTest(windows), { untilMs: 10_000, latencyMs: 1 });
    expect(left.length).toBeGreaterThanOrEqual(9);
  });
});

describe('permits', () => {
  it('of all endpoints take tokens from one bucket', async () => {
    const { clock, limiter } = createUnderTest([], { perSecond: 1, burst: 2 });
    await limiter.acquire('events', never);
    await limiter.acquire('profiles', never);
    let taken = false;
    void limiter.acquire('imports', never).then(() => (taken = true));
    await clock.advance(900);
    expect(taken).toBe(false);
    await clock.advance(200);
    expect(taken).toBe(true);
  });

  it('occupy no place after they are cancelled', async () => {
    const { limiter } = createUnderTest([{ limit: 1, windowMs: 60_000 }], {
      perSecond: 1,
      burst: 1,
    });
    for (let round = 0; round < 5; round++) (await limiter.acquire('events', never))?.cancel();
    expect(limiter.tokens()).toBe(1);
  });

  it('free their place for a request that waits when they are cancelled', async () => {
    const { limiter, clock, begin } = createUnderTest([{ limit: 1, windowMs: 60_000 }]);
    const permit = await limiter.acquire('events', never);
    const request = begin();
    await clock.advance(5000);
    expect(request.grantedAt).toBeUndefined();
    // Only the end of the first request can free a place, so no timer runs.
    expect(clock.pending()).toBe(0);
    permit?.cancel();
    await clock.advance(0);
    expect(request.grantedAt).toBe(5000);
  });

  it('are not granted a millisecond early', async () => {
    const { limiter, clock, begin } = createUnderTest([], { perSecond: 1000, burst: 1 });
    await limiter.acquire('events', never);
    const request = begin();
    await clock.advance(0);
    expect(request.grantedAt).toBeUndefined();
    await clock.advance(1);
    expect(request.grantedAt).toBe(1);
  });

  it('set no timer below a millisecond, so that an inexact timer does not make the limiter spin', async () => {
    const { limiter, clock, begin } = createUnderTest([], { perSecond: 4000, burst: 1 });
    await limiter.acquire('events', never);
    const request = begin();
    await clock.advance(5);
    expect(request.grantedAt).toBe(1);
  });

  it('report the seconds for which a request waited', async () => {
    const { limiter, clock, waits, begin } = createUnderTest([], { perSecond: 0.5, burst: 1 });
    await clock.advance(3000);
    await limiter.acquire('events', never);
    begin();
    await clock.advance(2000);
    expect(waits).toEqual([0, 2]);
  });

  it('are not granted after the signal aborts, and no timer is left', async () => {
    const { clock, limiter } = createUnderTest([{ limit: 1, windowMs: 60_000 }]);
    (await limiter.acquire('events', never))?.end(null);
    const leaving = new AbortController();
    const waiting = limiter.acquire('events', leaving.signal);
    await settlePromises();
    leaving.abort();
    expect(await waiting).toBeNull();
    expect(clock.pending()).toBe(0);
  });
});
