import { describe, expect, it } from 'vitest';
import type { PollResult, ListedImportJobs } from '../../src/model/destination.js';
import type { ImportJob } from '../../src/model/delivery.js';
import type { RateFeedback } from '../../src/model/limiter.js';
import { delivered, rejected } from '../support/builders.js';
import { createUnderTest, done, lost, noList, running } from './import-job-fixture.js';

type Polled = { readonly at: number; readonly what: string };

const many = [{ limit: 1000, windowMs: 1000 }];
const minuteMs = 60_000;

const inState = (seen: PollResult, id: string): PollResult => ({
  ...seen,
  job: { ...seen.job, id },
});

/** A Klaviyo in this process: a job is open until `end` names it. */
function createKlaviyo({
  toListed = (listed: ListedImportJobs): ListedImportJobs => listed,
  toLooked = (seen: PollResult): PollResult => seen,
  windows = many,
} = {}) {
  const polls: Polled[] = [];
  const ended = new Set<string>();
  const toJob = (id: string): ImportJob => ({ ...running.job, id });
  const under = createUnderTest(
    async (ref, _imported, permit) => {
      await permit();
      polls.push({ at: under.clock.monotonic(), what: ref });
      return toLooked(inState(ended.has(ref) ? done : running, ref));
    },
    {
      windows,
      async listImports(refs, permit) {
        await permit();
        polls.push({ at: under.clock.monotonic(), what: 'list' });
        const open = [...refs].filter((ref) => !ended.has(ref)).map(toJob);
        return toListed({ open, end: 'complete', requests: 1, feedback: null });
      },
    },
  );
  const lists = () => polls.filter(({ what }) => what === 'list');
  const looks = () => polls.filter(({ what }) => what !== 'list');
  return { ...under, polls, lists, looks, end: (ref: string) => ended.add(ref) };
}

const throttled: RateFeedback = {
  ...{ windows: [], remaining: null, remainingOf: null, resetMs: null },
  retryAfterMs: 20_000,
};

describe('following several import jobs', () => {
  it('takes one request for the list instead of a look at each', async () => {
    const { clock, lists, looks, begin, stopping } = createKlaviyo();
    for (let job = 0; job < 50; job++) begin(`job-${job}`);
    await clock.advance(2 * minuteMs);
    expect(looks()).toEqual([]);
    expect(lists().length).toBeGreaterThan(5);
    expect(lists().length).toBeLessThan(16);
    stopping.abort();
  });

  it('looks at a single job by itself: that also says how it ended', async () => {
    const { clock, lists, looks, begin, end, settledAt } = createKlaviyo();
    begin('job-1');
    await clock.advance(10_000);
    end('job-1');
    await clock.advance(minuteMs);
    expect(lists()).toEqual([]);
    expect(looks().length).toBeGreaterThan(3);
    expect([...settledAt.keys()]).toEqual(['job-1']);
  });

  it('ends a job by a look at it alone, once the list does not show it any more', async () => {
    const { clock, polls, looks, begin, end, settled, poller } = createKlaviyo();
    for (const ref of ['a', 'b', 'c']) begin(ref);
    await clock.advance(5000);
    expect(looks()).toEqual([]);
    end('b');
    await clock.advance(10_000);
    const [look, ...others] = looks();
    expect([look?.what, others]).toEqual(['b', []]);
    // At once, however long the job would have been left alone.
    const before = polls[polls.indexOf(look!) - 1];
    expect(before).toEqual({ what: 'list', at: look!.at });
    expect(settled.filter((one) => one.settled.length > 0)).toMatchObject([
      {
        delivery: { importJob: { id: 'b', status: 'complete' }, result: 'delivered' },
        settled: [{ verdict: { kind: 'ack', as: 'delivered' } }],
      },
    ]);
    expect(poller.openJobs().count).toBe(2);
    for (const ref of ['a', 'c']) end(ref);
    await clock.advance(minuteMs);
    await poller.idle();
    expect(clock.pending()).toBe(0);
  });

  it('looks at a job that has left the list at once, although it is not due for long', async () => {
    const { clock, looks, begin, end, settledAt, stopping } = createKlaviyo();
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(5 * minuteMs);
    end('a');
    begin('new');
    await clock.advance(1000);
    expect(looks().map(({ what }) => what)).toEqual(['a']);
    expect([...settledAt.keys()]).toEqual(['a']);
    stopping.abort();
  });

  it('leaves a job alone until it is due that was listed, and that a part of the list does not show', async () => {
    let isPartial = false;
    const { clock, looks, begin, stopping } = createKlaviyo({
      toListed: (listed) =>
        isPartial
          ? { ...listed, open: listed.open.filter(({ id }) => id !== 'a'), end: 'partial' }
          : listed,
    });
    for (const ref of ['a', 'b', 'c']) begin(ref);
    await clock.advance(5 * minuteMs);
    isPartial = true;
    begin('new');
    await clock.advance(1000);
    expect(looks()).toEqual([]);
    await clock.advance(minuteMs);
    expect(new Set(looks().map(({ what }) => what))).toEqual(new Set(['a']));
    stopping.abort();
  });

  it('reads a list of several pages as much more rarely', async () => {
    const { clock, lists, begin, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, requests: 5 }),
    });
    for (let job = 0; job < 100; job++) {
      begin(`job-${job}`);
      await clock.advance(400);
    }
    for (const [index, { at }] of lists().slice(1).entries()) {
      expect(at - lists()[index]!.at).toBeGreaterThanOrEqual(5000);
    }
    expect(lists().length).toBeGreaterThan(5);
    stopping.abort();
  });

  it('does not read the list while jobs that have ended wait for their look', async () => {
    const { clock, polls, lists, looks, begin, end, settledAt } = createKlaviyo({
      windows: [{ limit: 1, windowMs: 1000 }],
    });
    for (let job = 0; job < 40; job++) begin(`job-${job}`);
    await clock.advance(5000);
    for (let job = 0; job < 40; job++) end(`job-${job}`);
    const before = lists().length;
    for (let job = 0; job < 40; job++) {
      begin(`late-${job}`);
      end(`late-${job}`);
      await clock.advance(1000);
    }
    expect(lists().length - before).toBeLessThan(5);
    await clock.advance(2 * minuteMs);
    expect(settledAt.size).toBe(80);
    expect(looks()).toHaveLength(80);
    expect(polls.length).toBeLessThan(95);
  });

  it('does not end a job by the answer about another one of them', async () => {
    let isMixedUp = true;
    const { clock, looks, begin, end, settledAt, stopping } = createKlaviyo({
      toLooked: (seen) =>
        seen.job.id === 'a' && isMixedUp
          ? { ...done, job: { ...done.job, id: 'a' }, reportedId: 'b' }
          : { ...seen, reportedId: 'somebody' },
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(3000);
    end('a');
    await clock.advance(minuteMs);
    expect(looks().length).toBeGreaterThan(1);
    expect([...settledAt.keys()]).toEqual([]);
    isMixedUp = false;
    await clock.advance(minuteMs);
    expect([...settledAt.keys()]).toEqual(['a']);
    stopping.abort();
  });

  it('reads what failed in a job that the list does not show any more', async () => {
    const { clock, begin, end, settled } = createKlaviyo({
      toLooked: (seen) => (seen.outcomes === null ? seen : { ...seen, outcomes: [rejected] }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(3000);
    end('a');
    await clock.advance(5000);
    expect(settled.flatMap((one) => one.settled.map(({ verdict }) => verdict.kind))).toEqual([
      'dead-letter',
    ]);
  });

  it.each<[string, (seen: PollResult) => PollResult]>([
    ['says that it runs', (seen) => inState(running, seen.job.id)],
    ['fails', (seen) => inState(lost, seen.job.id)],
  ])('goes on with a job that the list leaves out where a look at it %s', async (...row) => {
    const [, toLooked] = row;
    const { clock, lists, looks, begin, settled, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: listed.open.filter(({ id }) => id !== 'hidden') }),
      toLooked,
    });
    for (const ref of ['hidden', 'a', 'b']) begin(ref);
    await clock.advance(10 * minuteMs);
    expect(settled.flatMap((one) => one.settled)).toEqual([]);
    expect(new Set(looks().map(({ what }) => what))).toEqual(new Set(['hidden']));
    // As often as if it were alone.
    expect(looks().length).toBeLessThan(30);
    expect(lists().length).toBeLessThan(60);
    stopping.abort();
  });

  it('looks at a job that was listed and is left out once, and then when it is due', async () => {
    let hidden = '';
    const { clock, looks, begin, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: listed.open.filter(({ id }) => id !== hidden) }),
    });
    for (const ref of ['a', 'b', 'c']) begin(ref);
    await clock.advance(5 * minuteMs);
    expect(looks()).toEqual([]);
    hidden = 'b';
    await clock.advance(10 * minuteMs);
    expect(looks().length).toBeGreaterThan(5);
    expect(looks().length).toBeLessThan(25);
    hidden = '';
    const before = looks().length;
    await clock.advance(10 * minuteMs);
    expect(looks().length - before).toBeLessThanOrEqual(1);
    stopping.abort();
  });

  it('reads the list for new jobs at most once a second, and settles those that end meanwhile', async () => {
    const { clock, lists, looks, begin, end, settledAt } = createKlaviyo();
    for (let job = 0; job < 100; job++) {
      begin(`job-${job}`);
      await clock.advance(100);
      if (job >= 10) end(`job-${job - 10}`);
    }
    for (let job = 90; job < 100; job++) end(`job-${job}`);
    await clock.advance(minuteMs);
    expect(settledAt.size).toBe(100);
    expect(looks()).toHaveLength(100);
    for (const [index, { at }] of lists().entries()) {
      expect(at - (lists()[index - 1]?.at ?? -1000)).toBeGreaterThanOrEqual(1000);
    }
  });

  it('does not take a job for ended that was begun while the list was read', async () => {
    const { clock, looks, begin, stopping } = createKlaviyo({
      windows: [{ limit: 1, windowMs: 3000 }],
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(2000);
    begin('late');
    await clock.advance(1500);
    expect(looks()).toEqual([]);
    stopping.abort();
  });

  it('looks once an hour at a job that the list shows as open', async () => {
    const { clock, looks, begin, end, settledAt, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: ['a', 'b'].map((id) => ({ ...running.job, id })) }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(59 * minuteMs);
    end('a');
    expect(looks()).toEqual([]);
    await clock.advance(5 * minuteMs);
    expect(looks().map(({ what }) => what)).toEqual(['a', 'b']);
    expect([...settledAt.keys()]).toEqual(['a']);
    stopping.abort();
  });

  it('ends a job that the list shows as open for seven days: its profiles go again', async () => {
    const { clock, begin, settled, poller } = createKlaviyo();
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(6.9 * 24 * 60 * minuteMs);
    expect(poller.openJobs().count).toBe(2);
    await clock.advance(0.2 * 24 * 60 * minuteMs);
    const verdicts = settled.flatMap((one) => one.settled.map(({ verdict }) => verdict));
    expect(verdicts).toMatchObject([
      { kind: 'retry', reason: { code: 'import_expired' } },
      { kind: 'retry', reason: { code: 'import_expired' } },
    ]);
    expect(poller.openJobs().count).toBe(0);
  });

  it('writes down that the list showed a job, so that one that is gone later is expired', async () => {
    const { clock, begin, end, settled } = createKlaviyo({
      toLooked: (seen) => ({
        ...seen,
        job: { ...seen.job, status: 'unreadable', completed: null, failed: null },
        outcomes: [{ kind: 'retryable', reason: { code: 'import_gone', detail: 'not there' } }],
      }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(3 * minuteMs);
    expect(settled.at(-1)?.delivery?.following).toMatchObject({ wasRead: true });
    end('a');
    await clock.advance(minuteMs);
    expect(settled.at(-1)).toMatchObject({
      settled: [{ verdict: { kind: 'retry', reason: { code: 'import_expired' } } }],
    });
  });
});

describe('where the list of open jobs is of no use', () => {
  it.each<[string, (listed: ListedImportJobs) => ListedImportJobs]>([
    ['is refused', () => noList],
    [
      'has too many pages of others',
      (listed) => ({ ...listed, open: [], end: 'partial', requests: 10 }),
    ],
    [
      'shows fewer jobs than it takes requests',
      ({ open, ...listed }) => ({
        ...listed,
        open: open.slice(0, 3),
        end: 'partial',
        requests: 10,
      }),
    ],
  ])(
    'that %s, each job is looked at as before, and the list is tried ever more rarely',
    async (...row) => {
      const [, toListed] = row;
      const { clock, lists, looks, begin, end, settledAt, stopping } = createKlaviyo({ toListed });
      for (let job = 0; job < 10; job++) begin(`job-${job}`);
      await clock.advance(minuteMs);
      expect(lists().length).toBeLessThanOrEqual(2);
      expect(new Set(looks().map(({ what }) => what)).size).toBe(10);
      end('job-3');
      await clock.advance(minuteMs);
      expect([...settledAt.keys()]).toEqual(['job-3']);
      await clock.advance(58 * minuteMs);
      expect(lists().length).toBeLessThanOrEqual(12);
      stopping.abort();
    },
  );

  it('it is used again once it is answered', async () => {
    let isRefused = true;
    const { clock, looks, begin, stopping } = createKlaviyo({
      toListed: (listed) => (isRefused ? noList : listed),
    });
    for (let job = 0; job < 10; job++) begin(`job-${job}`);
    await clock.advance(10 * minuteMs);
    isRefused = false;
    await clock.advance(10 * minuteMs);
    const before = looks().length;
    await clock.advance(20 * minuteMs);
    expect(looks()).toHaveLength(before);
    stopping.abort();
  });

  it('what an earlier page showed counts, and the others are looked at when they are due', async () => {
    const { clock, looks, begin, stopping } = createKlaviyo({
      toListed: ({ open, ...listed }) => ({
        ...listed,
        open: open.filter(({ id }) => id === 'a'),
        end: 'failed',
        requests: 2,
      }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(1000);
    expect(looks().map(({ what }) => what)).toEqual(['b']);
    stopping.abort();
  });

  it('a throttled list pauses all polls, is written down, and keeps no job from being looked at then', async () => {
    const { clock, polls, begin, end, settled, settledAt, stopping } = createKlaviyo({
      toListed: () => ({ ...noList, feedback: throttled }),
    });
    const startedAt = clock.now();
    for (const ref of ['a', 'b']) begin(ref);
    end('b');
    await clock.advance(1000);
    expect(settled.map(({ delivery }) => delivery?.following)).toEqual([
      { openMs: 0, wasRead: false, pause: { at: startedAt + 500, forMs: 20_000 } },
    ]);
    await clock.advance(19_400);
    expect(polls.map(({ what }) => what)).toEqual(['list']);
    await clock.advance(1000);
    expect(polls.map(({ what }) => what)).toEqual(['list', 'a', 'b']);
    expect([...settledAt.keys()]).toEqual(['b']);
    expect(
      settled.at(-2)?.delivery?.following ?? settled.at(-1)?.delivery?.following,
    ).not.toHaveProperty('pause');
    stopping.abort();
  });

  it('a stop ends the wait for its permit, and settles nothing', async () => {
    const { clock, poller, begin, settled, faults, stopping } = createKlaviyo({
      windows: [{ limit: 1, windowMs: 3_600_000 }],
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(20_000);
    stopping.abort();
    await poller.idle();
    expect([poller.countEnvelopes(), settled, faults, clock.pending()]).toEqual([0, [], [], 0]);
  });

  it('that breaks by our own fault is told', async () => {
    const broken = new Error('a bug');
    const { clock, begin, faults, stopping } = createKlaviyo({
      toListed: () => {
        throw broken;
      },
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(1000);
    expect(faults).toEqual([broken]);
    stopping.abort();
  });

  it('one job that breaks by our own fault leaves the others followed', async () => {
    const broken = new Error('a bug');
    const { clock, begin, end, faults, settledAt, poller } = createKlaviyo({
      toLooked(seen) {
        if (seen.job.id === 'bad') throw broken;
        return { ...seen, outcomes: seen.outcomes && [delivered] };
      },
    });
    for (const ref of ['bad', 'good', 'late']) begin(ref);
    await clock.advance(3000);
    for (const ref of ['bad', 'good']) end(ref);
    await clock.advance(10_000);
    expect(faults).toEqual([broken]);
    expect([...settledAt.keys()]).toEqual(['good']);
    expect(poller.openJobs().count).toBe(1);
    end('late');
    await clock.advance(minuteMs);
    expect(poller.openJobs().count).toBe(0);
  });
});
