import { describe, expect, it } from 'vitest';
import { createLocalLimiter } from '../../../src/delivery/limiter/limiter.js';
import {
  restorePauses,
  restoreRequests,
  toRequestedPause,
} from '../../../src/delivery/limiter/restore.js';
import type { Delivery, DeliveryFilter } from '../../../src/model/delivery.js';
import { aDelivery, startMs } from '../../support/builders.js';
import { createManualClock } from '../../support/manual-clock.js';

const windows = [
  { limit: 10, windowMs: 1000 },
  { limit: 150, windowMs: 60_000 },
];
const never = new AbortController().signal;

/** The pages that were read. */
let pages = 0;

/** The delivery log of an earlier process, with two entries a page. */
const toLog = (deliveries: readonly Delivery[]) => ({
  deliveries: (
    { lane, since = 0 }: DeliveryFilter,
    { limit, cursor }: { limit: number; cursor?: string | undefined },
  ) => {
    pages++;
    const size = Math.min(2, limit);
    const kept = deliveries.filter((each) => each.lane === lane && each.at >= since);
    const from = Number(cursor ?? 0);
    const next = from + size < kept.length ? String(from + size) : null;
    return Promise.resolve({ data: kept.slice(from, from + size), next });
  },
});

async function restarted(deliveries: readonly Delivery[], unknown = 0) {
  const clock = createManualClock(startMs);
  const limiter = createLocalLimiter({
    clock,
    bucket: { perSecond: 1000, burst: 1000 },
    windows: { events: windows, profiles: windows, imports: windows },
  });
  await restoreRequests({
    limiter,
    log: toLog(deliveries),
    now: clock.now(),
    longestWindowMs: 60_000,
    mostPerWindow: 150,
    timeoutMs: 30_000,
    unknown,
  });
  const waitMs = async (lane: 'events' | 'profiles'): Promise<number> => {
    const permits: unknown[] = [];
    void limiter.acquire(lane, never).then((permit) => permits.push(permit));
    for (let waited = 0; ; waited += 100) {
      await clock.advance(0);
      if (permits.length > 0) return waited;
      await clock.advance(100);
    }
  };
  return { waitMs };
}

const ended = (agoMs: number, durationMs = 200): Delivery =>
  aDelivery({ at: startMs - agoMs - durationMs, durationMs });

describe('the requests of an earlier process', () => {
  it('keep their places until a window after their end, over all pages of the log', async () => {
    const full = Array.from({ length: 150 }, (_, index) => ended(50_000 - index));
    const { waitMs } = await restarted(full);
    // The first place of the longest window is free 60 s after that request ended.
    expect(await waitMs('events')).toBe(10_000);
  });

  it('count in the short window as well', async () => {
    const { waitMs } = await restarted(Array.from({ length: 10 }, () => ended(400)));
    expect(await waitMs('events')).toBe(600);
  });

  it('delay only their own endpoint', async () => {
    const { waitMs } = await restarted(Array.from({ length: 150 }, () => ended(1000)));
    expect(await waitMs('profiles')).toBe(0);
  });

  it('are ignored if they are in no window any more', async () => {
    const { waitMs } = await restarted(
      Array.from({ length: 150 }, () => ended(60_000)),
      0,
    );
    expect(await waitMs('events')).toBe(0);
  });

  it('count as ended now if a wall clock that was set back dates them into the future', async () => {
    const { waitMs } = await restarted(Array.from({ length: 150 }, () => ended(-3_600_000)));
    expect(await waitMs('events')).toBe(60_000);
  });

  it('are at most as many as a window can have, however many a wall clock that was set back dates into the future', async () => {
    const aWeek = Array.from({ length: 5000 }, () => ended(-8 * 86_400_000));
    pages = 0;
    const { waitMs } = await restarted(aWeek);
    expect(pages).toBeLessThan(100);
    expect(await waitMs('events')).toBe(60_000);
  });

  it('add as many requests as may have been in flight, if there are any', async () => {
    const quiet = await restarted([], 10);
    expect(await quiet.waitMs('events')).toBe(0);
    const busy = await restarted([ended(30_000)], 10);
    expect(await busy.waitMs('events')).toBe(1000);
  });
});

describe('reading the requests of an earlier process', () => {
  /** Restores the requests of the events. The log has pages of any size. */
  async function restore(
    deliveries: readonly Delivery[],
    { mostPerWindow = 150, unknown = 0 } = {},
  ) {
    const limits: number[] = [];
    const restored: number[] = [];
    await restoreRequests({
      limiter: { addEndedRequests: (_endpoint, endedAgoMs) => void restored.push(...endedAgoMs) },
      log: {
        deliveries({ lane }, { limit, cursor }) {
          const from = Number(cursor ?? 0);
          const kept = lane === 'events' ? deliveries : [];
          if (lane === 'events') limits.push(limit);
          const next = from + limit < kept.length ? String(from + limit) : null;
          return Promise.resolve({ data: kept.slice(from, from + limit), next });
        },
      },
      now: startMs,
      longestWindowMs: 60_000,
      mostPerWindow,
      timeoutMs: 30_000,
      unknown,
    });
    return { limits, restored };
  }

  it('reads pages of at most 1,000, and only as many as a window can have', async () => {
    const many = Array.from({ length: 3000 }, () => ended(500));
    const { limits, restored } = await restore(many, { mostPerWindow: 2500 });
    expect(limits).toEqual([1000, 1000, 500]);
    expect(restored).toHaveLength(2500);
  });

  it('never counts a request as ended in the future', async () => {
    const { restored } = await restore([ended(-5000), ended(700)]);
    expect(restored).toEqual([0, 700]);
  });

  it('adds the unknown requests as ended now', async () => {
    const { restored } = await restore([ended(700)], { unknown: 3 });
    expect(restored).toEqual([700, 0, 0, 0]);
  });
});

it('a requested pause is saved with the time since boot if the machine has one', () => {
  const clock = createManualClock(startMs);
  expect(toRequestedPause(clock, 5000)).toStrictEqual({ at: startMs, forMs: 5000 });
  const uptime = { boot: 'b1', ms: 100_000 };
  expect(toRequestedPause({ ...clock, uptime: () => uptime }, 5000)).toStrictEqual({
    at: startMs,
    forMs: 5000,
    uptime,
  });
});

describe('a pause that Klaviyo requested from an earlier process', () => {
  const asked = (agoMs: number, forMs: number): Delivery =>
    aDelivery({ status: 429, pause: { at: startMs - agoMs, forMs } });

  async function toPauses(
    deliveries: readonly Delivery[],
    followed: readonly Delivery[] = [],
  ): Promise<Record<string, number>> {
    const pauses: Record<string, number> = {};
    await restorePauses({
      limiter: {
        pause: (endpoint, forMs) => {
          pauses[endpoint] = Math.max(pauses[endpoint] ?? 0, forMs);
        },
      },
      store: {
        ...toLog(deliveries),
        unfinishedImportJobs: () =>
          Promise.resolve(
            followed.map((delivery) => ({ lane: delivery.lane, ref: 'j', delivery, items: [] })),
          ),
      },
      clock: { ...createManualClock(startMs), uptime: () => ({ boot: 'b1', ms: 100_000 }) },
      concurrency: 2,
    });
    return pauses;
  }

  it('continues for the rest of its time, in its own lane', async () => {
    expect(await toPauses([asked(10_000, 30_000)])).toEqual({ events: 20_000 });
  });

  it('is not restored if its time is over', async () => {
    expect(await toPauses([asked(30_000, 30_000)])).toEqual({ events: 0 });
  });

  it('is not longer than requested if the wall clock was set back by days', async () => {
    expect(await toPauses([asked(-8 * 86_400_000, 30_000)])).toEqual({ events: 30_000 });
  });

  it('is over if more requests followed than can have been in flight, whatever the clock says', async () => {
    const later = [aDelivery(), aDelivery()];
    expect(await toPauses([...later, asked(-8 * 86_400_000, 30_000)])).toEqual({});
  });

  it.each([8, -8])('is exact if the wall clock jumped by %i days within a boot', async (days) => {
    const uptime = { boot: 'b1', ms: 90_000 };
    const pause = { at: startMs - days * 86_400_000, forMs: 30_000, uptime };
    expect(await toPauses([aDelivery({ status: 429, pause })])).toEqual({ events: 20_000 });
  });

  it('is measured by the wall clock after a reboot', async () => {
    const uptime = { boot: 'b0', ms: 90_000 };
    const pause = { at: startMs - 25_000, forMs: 30_000, uptime };
    expect(await toPauses([aDelivery({ status: 429, pause })])).toEqual({ events: 5000 });
  });

  it('also applies to the polls of import jobs', async () => {
    const pause = { at: startMs - 5000, forMs: 60_000 };
    const following = { openMs: 900_000, wasRead: true, pause };
    expect(await toPauses([], [aDelivery({ lane: 'profiles', following })])).toEqual({
      imports: 55_000,
    });
    expect(await toPauses([], [aDelivery({ lane: 'suppress', following })])).toEqual({
      suppress: 55_000,
    });
  });
});
