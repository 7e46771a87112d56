import { describe, expect, it } from 'vitest';
import type { Destination } from '../../src/model/destination.js';
import type { PollResult } from '../../src/model/destination.js';
import type { Settlement } from '../../src/model/store.js';
import { aDelivery, rejected, someItems } from '../support/builders.js';
import { createUnderTest, done, lost, running } from './import-job-fixture.js';

describe('polling an import job', () => {
  it('acquires a permit for each request of a poll, and ends each before the next', async () => {
    let asked = 0;
    const { clock, settled, poller, begin } = createUnderTest(async (_ref, _payloads, permit) => {
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
    await poller.idle();
    expect(clock.pending()).toBe(0);
  });

  it('polls again after a failed poll', async () => {
    let polls = 0;
    const { clock, settled, log, begin } = createUnderTest(async (_ref, _payloads, permit) => {
      await permit();
      return ++polls < 3 ? { ...done, outcomes: null, retryable: true } : done;
    });
    begin();
    await clock.advance(10_000);
    expect(polls).toBe(3);
    expect(settled[0]?.settled.map(({ verdict }) => verdict)).toEqual([
      { kind: 'ack', as: 'delivered' },
    ]);
    expect(log).toEqual(['import job ended']);
  });

  it('stops while it waits for a permit, and settles nothing', async () => {
    const under = createUnderTest(async (_ref, _payloads, permit) => {
      for (;;) await permit();
    });
    const { clock, poller, settled, fatalErrors, stopping, begin } = under;
    begin();
    await clock.advance(2200);
    expect(poller.countEnvelopes()).toBe(1);
    stopping.abort();
    await poller.idle();
    expect(poller.countEnvelopes()).toBe(0);
    expect(settled).toEqual([]);
    expect(fatalErrors).toEqual([]);
    expect(clock.pending()).toBe(0);
  });

  it('makes at most four polls at once, and sets no timer while they run', async () => {
    let underWay = 0;
    let busiest = 0;
    const gates: (() => void)[] = [];
    const under = createUnderTest(async () => {
      busiest = Math.max(busiest, ++underWay);
      await new Promise<void>((resolve) => gates.push(resolve));
      underWay--;
      return done;
    });
    const { clock, poller, settled, begin } = under;
    for (let job = 0; job < 10; job++) begin(`job-${job}`);
    await clock.advance(60_000);
    expect(busiest).toBe(4);
    expect(clock.pending()).toBe(0);
    while (gates.length > 0) {
      gates.shift()?.();
      await clock.advance(1);
    }
    expect(busiest).toBe(4);
    await poller.idle();
    expect(settled).toHaveLength(10);
  });

  it('begins with the job that has the fewest polls, and with the older of two, when a poll ends', async () => {
    const begun: string[] = [];
    const gates: (() => void)[] = [];
    const under = createUnderTest(async ({ ref }) => {
      begun.push(ref);
      if (ref !== 'old') await new Promise<void>((resolve) => gates.push(resolve));
      return { ...running, job: { ...running.job, id: ref } };
    });
    const { clock, begin, stopping } = under;
    begin('old');
    await clock.advance(550);
    for (const ref of ['a', 'b', 'c', 'd']) begin(ref);
    await clock.advance(1000);
    for (const ref of ['e', 'f', 'g']) begin(ref);
    await clock.advance(600);
    expect(begun).toEqual(['old', 'a', 'b', 'c', 'd']);
    for (let count = 0; count < 4; count++) {
      gates.shift()?.();
      await clock.advance(1);
    }
    expect(begun.slice(5)).toEqual(['e', 'f', 'g', 'old']);
    stopping.abort();
    for (const open of gates) open();
  });

  it('frees the place of a poll that throws', async () => {
    const under = createUnderTest(
      async ({ ref }, _payloads, permit) => {
        await permit();
        if (ref === 'bad') throw new Error('a bug');
        return done;
      },
      { windows: [{ limit: 1, windowMs: 1000 }] },
    );
    under.begin('bad');
    under.begin('good');
    await under.clock.advance(60_000);
    expect(under.settled).toHaveLength(1);
  });

  it('applies the limit that Klaviyo announces in the response to a poll', async () => {
    const polledAt: number[] = [];
    const under = createUnderTest(async (_ref, _payloads, permit) => {
      await permit();
      polledAt.push(under.clock.monotonic());
      const none = { remaining: null, remainingOf: null, resetMs: null, retryAfterMs: null };
      return { ...done, feedback: { ...none, windows: [{ limit: 1, windowMs: 1000 }] } };
    });
    for (let job = 0; job < 5; job++) under.begin(`job-${job}`);
    await under.clock.advance(10_000);
    const gaps = polledAt.slice(2).map((at, index) => at - polledAt[index + 1]!);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(999);
  });

  it('polls a new job soon, however long the process has run', async () => {
    let polls = 0;
    const { clock, begin, stopping } = createUnderTest(async (_ref, _payloads, permit) => {
      await permit();
      polls++;
      return running;
    });
    await clock.advance(3_600_000);
    begin();
    await clock.advance(5000);
    expect(polls).toBeGreaterThanOrEqual(4);
    stopping.abort();
  });

  it('pauses the lane briefly if everything in a job is rejected for one reason', async () => {
    const { clock, limiter, poller, settled } = createUnderTest(async (_ref, imported, permit) => {
      await permit();
      return { ...done, outcomes: Array.from({ length: imported.count }, () => rejected) };
    });
    const delivery = aDelivery({ lane: 'profiles', result: 'pending' });
    poller.add({ lane: 'profiles', ref: 'job-1', delivery, items: someItems(31) });
    await clock.advance(500);
    expect(settled).toHaveLength(1);
    let grantedAt = 0;
    void limiter
      .acquire('profiles', new AbortController().signal)
      .then(() => (grantedAt = clock.monotonic()));
    await clock.advance(1000);
    expect(grantedAt).toBe(750);
  });

  it('reports a poll that throws as fatal, and stops polling the job', async () => {
    const broken = new Error('a bug');
    const { clock, poller, fatalErrors, begin } = createUnderTest(() => Promise.reject(broken));
    begin();
    await clock.advance(60_000);
    expect(fatalErrors).toEqual([broken]);
    expect(poller.countEnvelopes()).toBe(0);
  });
});

const forbidden: PollResult = {
  ...done,
  job: { id: 'job-1', status: 'unreadable', completed: null, failed: null },
};
const gone: PollResult = {
  ...forbidden,
  outcomes: [{ kind: 'retryable', reason: { code: 'import_gone', detail: 'not there' } }],
};
const dayMs = 86_400_000;

/** The verdicts of the envelopes, and the saved progress of the job. */
function toSummary(settled: readonly Settlement[]) {
  const verdicts = settled.flatMap((one) => one.settled.map(({ verdict }) => verdict));
  const last = settled.at(-1)?.delivery;
  return { verdicts, openMs: last?.following?.openMs ?? 0, last };
}

describe('an import job that never ends', () => {
  it.each([
    ['still runs', running],
    ['cannot be read', lost],
  ])('that %s expires after seven days, and its profiles are sent again', async (_name, seen) => {
    const under = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return seen;
    });
    under.begin();
    await under.clock.advance(6.9 * dayMs);
    expect(toSummary(under.settled).verdicts).toEqual([]);
    expect(under.poller.openJobs()).toEqual({ count: 1, oldestAgeMs: 6.9 * dayMs });
    await under.clock.advance(0.11 * dayMs);
    const { verdicts, last } = toSummary(under.settled);
    expect(verdicts).toMatchObject([
      { kind: 'retry', countAttempt: true, reason: { code: 'import_expired' } },
    ]);
    expect(last).toMatchObject({ importJob: { status: 'expired' }, retried: 1 });
    expect(under.poller.openJobs()).toEqual({ count: 0, oldestAgeMs: 0 });
  });

  it('is polled ever more rarely in its first ten minutes, and at least every 30 seconds', async () => {
    const polledAt: number[] = [];
    const { clock, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      polledAt.push(clock.monotonic());
      return running;
    });
    begin();
    await clock.advance(600_000);
    stopping.abort();
    const gaps = polledAt.slice(1).map((at, index) => at - polledAt[index]!);
    expect(gaps).toEqual([...gaps].sort((a, b) => a - b));
    expect(Math.max(...gaps)).toBe(30_000);
  });

  it('is polled ever more rarely, and at least every ten minutes', async () => {
    let polls = 0;
    const { clock, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      polls++;
      return running;
    });
    begin();
    await clock.advance(600_000);
    expect(polls).toBeLessThan(40);
    const before = polls;
    await clock.advance(dayMs);
    expect(polls - before).toBeGreaterThanOrEqual(144);
    expect(polls - before).toBeLessThan(200);
    stopping.abort();
  });

  it.each([8, -8])(
    'expires after the same time if the wall clock jumps by %i days',
    async (days) => {
      const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
        await permit();
        return running;
      });
      begin();
      await clock.advance(3_600_000);
      clock.jump(days * dayMs);
      await clock.advance(6.9 * dayMs);
      expect(toSummary(settled).verdicts).toEqual([]);
      await clock.advance(0.1 * dayMs);
      expect(toSummary(settled).verdicts).toHaveLength(1);
    },
  );

  it('saves its age after a minute, and again each time the age has grown by a tenth', async () => {
    const { clock, settled, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return running;
    });
    begin();
    await clock.advance(dayMs);
    stopping.abort();
    const ages = settled.map(({ delivery }) => delivery?.following?.openMs ?? 0);
    expect(ages[0]).toBeGreaterThanOrEqual(60_000);
    expect(ages[0]).toBeLessThan(90_000);
    for (const [index, age] of ages.slice(1).entries()) {
      const before = ages[index]!;
      expect(age - before).toBeGreaterThanOrEqual(Math.max(60_000, 0.1 * before));
    }
    expect(ages.length).toBeGreaterThan(20);
  });

  it('counts as expired if it is gone after it was read as queued', async () => {
    let polls = 0;
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return ++polls < 4 ? { ...running, job: { ...running.job, status: 'queued' } } : gone;
    });
    begin();
    await clock.advance(60_000);
    expect(toSummary(settled).verdicts).toMatchObject([{ reason: { code: 'import_expired' } }]);
  });

  it('keeps the age that earlier processes measured, and loses a tenth at most in a crash', async () => {
    const pollJob: Destination['pollImportJob'] = async (_ref, _imported, permit) => {
      await permit();
      return running;
    };
    const before = createUnderTest(pollJob);
    before.begin();
    await before.clock.advance(4 * dayMs);
    before.stopping.abort();
    const { last, openMs } = toSummary(before.settled);
    expect(openMs).toBeGreaterThan(3.6 * dayMs);
    expect(before.settled.length).toBeLessThan(150);
    const after = createUnderTest(pollJob);
    after.begin('job-1', last);
    expect(after.poller.openJobs().oldestAgeMs).toBe(openMs);
    await after.clock.advance(7.01 * dayMs - openMs);
    expect(toSummary(after.settled).verdicts).toHaveLength(1);
  });

  it.each([
    ['after it was read as running', running, 'import_expired', 'expired'],
    ['and was never read before', lost, 'import_gone', 'unreadable'],
  ])('that is gone at Klaviyo %s has its profiles sent again', async (...of) => {
    const [, first, code, status] = of;
    let polls = 0;
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return ++polls < 4 ? first : gone;
    });
    begin();
    await clock.advance(60_000);
    expect(toSummary(settled)).toMatchObject({
      verdicts: [{ kind: 'retry', reason: { code } }],
      last: { importJob: { status } },
    });
  });

  it('counts as cancelled if Klaviyo cancelled it after it was read as running', async () => {
    let polls = 0;
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      const reason = { code: 'import_cancelled', detail: 'Klaviyo cancelled the import job' };
      const job = { id: 'job-1', status: 'cancelled', completed: null, failed: null } as const;
      return ++polls < 4 ? running : { ...done, job, outcomes: [{ kind: 'retryable', reason }] };
    });
    begin();
    await clock.advance(60_000);
    expect(toSummary(settled)).toMatchObject({
      verdicts: [{ reason: { code: 'import_cancelled' } }],
      last: { importJob: { status: 'cancelled' } },
    });
  });

  it.each([
    ['loses the permission', running],
    ['never had the permission', lost],
  ])('counts as delivered and is not sent again if the key %s to read it', async (...of) => {
    const [, first] = of;
    let polls = 0;
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return ++polls < 4 ? first : forbidden;
    });
    begin();
    await clock.advance(60_000);
    expect(toSummary(settled)).toMatchObject({
      verdicts: [{ kind: 'ack', as: 'delivered' }],
      last: { importJob: { status: 'unreadable' } },
    });
  });

  it('does not delay the polls of jobs that end soon', async () => {
    const { clock, settled, begin, stopping } = createUnderTest(
      async ({ ref }, _imported, permit) => {
        await permit();
        return ref === 'quick' ? done : running;
      },
    );
    for (let job = 0; job < 200; job++) begin(`stuck-${String(job)}`);
    await clock.advance(300_000);
    begin('quick');
    await clock.advance(4000);
    expect(settled.filter(({ settled: own }) => own.length > 0)).toHaveLength(1);
    stopping.abort();
  });
});

describe('a pause that Klaviyo requests in response to a poll', () => {
  it('is at least a second long', async () => {
    const { clock, settled, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      const feedback = { windows: [], remaining: null, remainingOf: null, resetMs: null };
      return { ...lost, feedback: { ...feedback, retryAfterMs: 0 } };
    });
    begin();
    await clock.advance(600);
    expect(toSummary(settled).last?.following?.pause?.forMs).toBe(1000);
    stopping.abort();
  });

  it('is saved with the job until it is over', async () => {
    let polls = 0;
    const { clock, settled, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      const feedback = { windows: [], remaining: null, remainingOf: null, resetMs: null };
      const isThrottled = ++polls === 1;
      return { ...lost, feedback: { ...feedback, retryAfterMs: isThrottled ? 30_000 : null } };
    });
    const startedAt = clock.now();
    begin();
    await clock.advance(1000);
    expect(toSummary(settled).last?.following).toEqual({
      openMs: 500,
      wasRead: false,
      pause: { at: startedAt + 500, forMs: 30_000 },
    });
    await clock.advance(29_000);
    expect(polls).toBe(1);
    await clock.advance(750);
    expect(polls).toBe(2);
    expect(toSummary(settled).last?.following).not.toHaveProperty('pause');
    stopping.abort();
  });
});
