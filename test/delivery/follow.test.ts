import { describe, expect, it } from 'vitest';
import type { Destination } from '../../src/delivery/destination.js';
import { createFollower } from '../../src/delivery/follow.js';
import { createLimiter } from '../../src/delivery/limiter.js';
import { createRecorder } from '../../src/delivery/record.js';
import type { Followed, Settlement } from '../../src/envelope.js';
import { createMetrics } from '../../src/metrics.js';
import { aDelivery, aParcel, delivered } from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';

const done: Followed = {
  job: { id: 'job-1', status: 'complete', completed: 1, failed: 0 },
  outcomes: [delivered],
  retryable: false,
  feedback: null,
};

/** A follower over a far side that takes two requests a second, and a store that remembers. */
function createUnderTest(follow: Destination['follow']) {
  const clock = createManualClock();
  const stopping = new AbortController();
  const settled: Settlement[] = [];
  const faults: unknown[] = [];
  const log: string[] = [];
  const windows = [{ limit: 2, windowMs: 1000 }];
  const write = (_fields: object, text: string): void => void log.push(text);
  const follower = createFollower({
    buffer: { settle: (settlement) => Promise.resolve(void settled.push(settlement)) },
    destination: {
      follow,
      merge: (payloads) => payloads.at(-1)!,
      send: () => Promise.reject(new Error('nothing is sent here')),
    },
    limiter: createLimiter({
      clock,
      bucket: { perSecond: 100, burst: 100 },
      windows: { events: [], profiles: [], imports: windows },
    }),
    recorder: createRecorder({
      clock,
      metrics: createMetrics('test'),
      log: { info: write, warn: write },
    }),
    policy: { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 0 },
    clock,
    random: () => 0.5,
    signal: stopping.signal,
    onFault: (error) => void faults.push(error),
  });
  const begin = (): void =>
    follower.follow({
      lane: 'profiles',
      ref: 'job-1',
      delivery: aDelivery({ lane: 'profiles', result: 'pending' }),
      parcels: [aParcel('p1')],
    });
  return { clock, follower, settled, faults, log, stopping, begin };
}

describe('following an import job', () => {
  it('takes a permit for each request of a look, and ends each before the next', async () => {
    let asked = 0;
    const { clock, settled, follower, begin } = createUnderTest(async (_ref, _payloads, permit) => {
      for (let page = 0; page < 7; page++) {
        await permit();
        asked++;
      }
      return done;
    });
    begin();
    await clock.advance(1000);
    expect(asked).toBeLessThanOrEqual(2);
    await clock.advance(10_000);
    expect(asked).toBe(7);
    expect(settled).toHaveLength(1);
    await follower.idle();
    expect(clock.pending()).toBe(0);
  });

  it('looks again after a look that failed', async () => {
    let looks = 0;
    const { clock, settled, log, begin } = createUnderTest(async (_ref, _payloads, permit) => {
      await permit();
      return ++looks < 3 ? { ...done, outcomes: null, retryable: true } : done;
    });
    begin();
    await clock.advance(10_000);
    expect(looks).toBe(3);
    expect(settled[0]?.settled.map(({ verdict }) => verdict)).toEqual([
      { kind: 'ack', as: 'delivered' },
    ]);
    expect(log).toEqual(['import job ended']);
  });

  it('stops while it waits for a permit, and settles nothing', async () => {
    const under = createUnderTest(async (_ref, _payloads, permit) => {
      for (;;) await permit();
    });
    const { clock, follower, settled, faults, stopping, begin } = under;
    begin();
    await clock.advance(2200);
    expect(follower.waiting()).toBe(1);
    stopping.abort();
    await follower.idle();
    expect(follower.waiting()).toBe(0);
    expect(settled).toEqual([]);
    expect(faults).toEqual([]);
    expect(clock.pending()).toBe(0);
  });

  it('that breaks by our own fault is told, and followed no more', async () => {
    const broken = new Error('a bug');
    const { clock, follower, faults, begin } = createUnderTest(() => Promise.reject(broken));
    begin();
    await clock.advance(60_000);
    expect(faults).toEqual([broken]);
    expect(follower.waiting()).toBe(0);
  });
});
