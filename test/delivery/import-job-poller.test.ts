import { describe, expect, it } from 'vitest';
import type { Destination } from '../../src/model/destination.js';
import type { PollResult } from '../../src/model/destination.js';
import type { Settlement } from '../../src/model/store.js';
import { createUnderTest, done, lost, running } from './import-job-fixture.js';

describe('following an import job', () => {
  it('takes a permit for each request of a look, and ends each before the next', async () => {
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
    const { clock, poller, settled, faults, stopping, begin } = under;
    begin();
    await clock.advance(2200);
    expect(poller.countEnvelopes()).toBe(1);
    stopping.abort();
    await poller.idle();
    expect(poller.countEnvelopes()).toBe(0);
    expect(settled).toEqual([]);
    expect(faults).toEqual([]);
    expect(clock.pending()).toBe(0);
  });

  it('that breaks by our own fault is told, and followed no more', async () => {
    const broken = new Error('a bug');
    const { clock, poller, faults, begin } = createUnderTest(() => Promise.reject(broken));
    begin();
    await clock.advance(60_000);
    expect(faults).toEqual([broken]);
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

/** What became of the envelopes, and what is written down of the job. */
function toBooks(settled: readonly Settlement[]) {
  const verdicts = settled.flatMap((one) => one.settled.map(({ verdict }) => verdict));
  const last = settled.at(-1)?.delivery;
  return { verdicts, openMs: last?.following?.openMs ?? 0, last };
}

describe('an import job that never ends', () => {
  it.each([
    ['as Klaviyo says', running],
    ['as far as anybody can tell', lost],
  ])('%s is over after seven days, and its profiles go again', async (_name, seen) => {
    const under = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return seen;
    });
    under.begin();
    await under.clock.advance(6.9 * dayMs);
    expect(toBooks(under.settled).verdicts).toEqual([]);
    expect(under.poller.openJobs()).toEqual({ count: 1, oldestAgeMs: 6.9 * dayMs });
    await under.clock.advance(0.11 * dayMs);
    const { verdicts, last } = toBooks(under.settled);
    expect(verdicts).toMatchObject([
      { kind: 'retry', countAttempt: true, reason: { code: 'import_expired' } },
    ]);
    expect(last).toMatchObject({ importJob: { status: 'expired' }, retried: 1 });
    expect(under.poller.openJobs()).toEqual({ count: 0, oldestAgeMs: 0 });
  });

  it('is looked at ever more rarely, at least every ten minutes', async () => {
    let looks = 0;
    const { clock, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      looks++;
      return running;
    });
    begin();
    await clock.advance(600_000);
    expect(looks).toBeLessThan(40);
    const before = looks;
    await clock.advance(dayMs);
    expect(looks - before).toBeGreaterThanOrEqual(144);
    expect(looks - before).toBeLessThan(200);
    stopping.abort();
  });

  it.each([8, -8])('is not ended or kept by a wall clock that jumps %i days', async (days) => {
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return running;
    });
    begin();
    await clock.advance(3_600_000);
    clock.jump(days * dayMs);
    await clock.advance(6.9 * dayMs);
    expect(toBooks(settled).verdicts).toEqual([]);
    await clock.advance(0.1 * dayMs);
    expect(toBooks(settled).verdicts).toHaveLength(1);
  });

  it('has the age that earlier processes measured, of which a crash loses a tenth at most', async () => {
    const follow: Destination['pollImportJob'] = async (_ref, _imported, permit) => {
      await permit();
      return running;
    };
    const before = createUnderTest(follow);
    before.begin();
    await before.clock.advance(4 * dayMs);
    before.stopping.abort();
    const { last, openMs } = toBooks(before.settled);
    expect(openMs).toBeGreaterThan(3.6 * dayMs);
    expect(before.settled.length).toBeLessThan(150);
    const after = createUnderTest(follow);
    after.begin('job-1', last);
    expect(after.poller.openJobs().oldestAgeMs).toBe(openMs);
    await after.clock.advance(7.01 * dayMs - openMs);
    expect(toBooks(after.settled).verdicts).toHaveLength(1);
  });

  it.each([
    ['after it was seen running', running, 'import_expired', 'expired'],
    ['and was never read', lost, 'import_gone', 'unreadable'],
  ])('and is gone at Klaviyo %s: its profiles go again', async (...of) => {
    const [, first, code, status] = of;
    let looks = 0;
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return ++looks < 4 ? first : gone;
    });
    begin();
    await clock.advance(60_000);
    expect(toBooks(settled)).toMatchObject({
      verdicts: [{ kind: 'retry', reason: { code } }],
      last: { importJob: { status } },
    });
  });

  it.each([
    ['loses the right', running],
    ['never had the right', lost],
  ])('counts as delivered where the key %s to read it: nothing is sent again', async (...of) => {
    const [, first] = of;
    let looks = 0;
    const { clock, settled, begin } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      return ++looks < 4 ? first : forbidden;
    });
    begin();
    await clock.advance(60_000);
    expect(toBooks(settled)).toMatchObject({
      verdicts: [{ kind: 'ack', as: 'delivered' }],
      last: { importJob: { status: 'unreadable' } },
    });
  });

  it('does not hold up the looks at jobs that end soon', async () => {
    const { clock, settled, begin, stopping } = createUnderTest(async (ref, _imported, permit) => {
      await permit();
      return ref === 'quick' ? done : running;
    });
    for (let job = 0; job < 200; job++) begin(`stuck-${String(job)}`);
    await clock.advance(300_000);
    begin('quick');
    await clock.advance(4000);
    expect(settled.filter(({ settled: own }) => own.length > 0)).toHaveLength(1);
    stopping.abort();
  });
});

describe('a pause that Klaviyo asks for in answer to a look', () => {
  it('is written down with the job until it is over', async () => {
    let looks = 0;
    const { clock, settled, begin, stopping } = createUnderTest(async (_ref, _imported, permit) => {
      await permit();
      const feedback = { windows: [], remaining: null, remainingOf: null, resetMs: null };
      const isThrottled = ++looks === 1;
      return { ...lost, feedback: { ...feedback, retryAfterMs: isThrottled ? 30_000 : null } };
    });
    const startedAt = clock.now();
    begin();
    await clock.advance(1000);
    expect(toBooks(settled).last?.following).toEqual({
      openMs: 500,
      wasRead: false,
      pause: { at: startedAt + 500, forMs: 30_000 },
    });
    await clock.advance(29_000);
    expect(looks).toBe(1);
    await clock.advance(750);
    expect(looks).toBe(2);
    expect(toBooks(settled).last?.following).not.toHaveProperty('pause');
    stopping.abort();
  });
});
