import { describe, expect, it } from 'vitest';
import type { PollResult, ListedImportJobs } from '../../src/model/destination.js';
import type { Delivery, ImportJob } from '../../src/model/delivery.js';
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

/** Creates a Klaviyo in this process. A job is open until `end` is called with it. */
function createKlaviyo({
  toListed = (listed: ListedImportJobs): ListedImportJobs => listed,
  toPolled = (seen: PollResult): PollResult => seen,
  windows = many,
  suppressWindows = many,
} = {}) {
  const requests: Polled[] = [];
  const ended = new Set<string>();
  const toJob = (id: string): ImportJob => ({ ...running.job, id });
  const under = createUnderTest(
    async ({ ref }, _imported, permit) => {
      await permit();
      requests.push({ at: under.clock.monotonic(), what: ref });
      return toPolled(inState(ended.has(ref) ? done : running, ref));
    },
    {
      windows,
      suppressWindows,
      async listImports(refs, permit) {
        await permit();
        requests.push({ at: under.clock.monotonic(), what: 'list' });
        const open = [...refs].filter((ref) => !ended.has(ref)).map(toJob);
        return toListed({ open, end: 'complete', requests: 1, feedback: null });
      },
    },
  );
  const lists = () => requests.filter(({ what }) => what === 'list');
  const polls = () => requests.filter(({ what }) => what !== 'list');
  return { ...under, requests, lists, polls, end: (ref: string) => ended.add(ref) };
}

const throttled: RateFeedback = {
  ...{ windows: [], remaining: null, remainingOf: null, resetMs: null },
  retryAfterMs: 20_000,
};

describe('polling several import jobs', () => {
  it('makes one request for the list instead of one poll for each job', async () => {
    const { clock, lists, polls, begin, stopping } = createKlaviyo();
    for (let job = 0; job < 50; job++) begin(`job-${job}`);
    await clock.advance(2 * minuteMs);
    expect(polls()).toEqual([]);
    expect(lists().length).toBeGreaterThan(5);
    expect(lists().length).toBeLessThan(16);
    stopping.abort();
  });

  it('requests a single job itself, because the poll also shows how it ended', async () => {
    const { clock, lists, polls, begin, end, settledAt } = createKlaviyo();
    begin('job-1');
    await clock.advance(10_000);
    end('job-1');
    await clock.advance(minuteMs);
    expect(lists()).toEqual([]);
    expect(polls().length).toBeGreaterThan(3);
    expect([...settledAt.keys()]).toEqual(['job-1']);
  });

  it('ends a job only after a poll, once the list does not show it any more', async () => {
    const { clock, requests, polls, begin, end, settled, poller } = createKlaviyo();
    for (const ref of ['a', 'b', 'c']) begin(ref);
    await clock.advance(5000);
    expect(polls()).toEqual([]);
    end('b');
    await clock.advance(10_000);
    const [poll, ...others] = polls();
    expect([poll?.what, others]).toEqual(['b', []]);
    // At once, although the job was not due yet.
    const before = requests[requests.indexOf(poll!) - 1];
    expect(before).toEqual({ what: 'list', at: poll!.at });
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

  it('requests a job that has left the list at once, even if it is not due', async () => {
    const { clock, polls, begin, end, settledAt, stopping } = createKlaviyo();
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(5 * minuteMs);
    end('a');
    begin('new');
    await clock.advance(1000);
    expect(polls().map(({ what }) => what)).toEqual(['a']);
    expect([...settledAt.keys()]).toEqual(['a']);
    stopping.abort();
  });

  it('does not poll a listed job before it is due if only a part of the list was read', async () => {
    let isPartial = false;
    const { clock, polls, begin, stopping } = createKlaviyo({
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
    expect(polls()).toEqual([]);
    await clock.advance(minuteMs);
    expect(new Set(polls().map(({ what }) => what))).toEqual(new Set(['a']));
    stopping.abort();
  });

  it('reads a list with several pages more rarely, in proportion to its pages', async () => {
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

  it('does not read the list while jobs that have ended wait for a poll', async () => {
    const { clock, requests, lists, polls, begin, end, settledAt } = createKlaviyo({
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
    expect(polls()).toHaveLength(80);
    expect(requests.length).toBeLessThan(95);
  });

  it('does not end a job by a response about another open job', async () => {
    let isMixedUp = true;
    const { clock, polls, begin, end, settledAt, stopping } = createKlaviyo({
      toPolled: (seen) =>
        seen.job.id === 'a' && isMixedUp
          ? { ...done, job: { ...done.job, id: 'a' }, reportedId: 'b' }
          : { ...seen, reportedId: 'somebody' },
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(3000);
    end('a');
    await clock.advance(minuteMs);
    expect(polls().length).toBeGreaterThan(1);
    expect([...settledAt.keys()]).toEqual([]);
    isMixedUp = false;
    await clock.advance(minuteMs);
    expect([...settledAt.keys()]).toEqual(['a']);
    stopping.abort();
  });

  it('reads the import errors of a job that the list does not show any more', async () => {
    const { clock, begin, end, settled } = createKlaviyo({
      toPolled: (seen) => (seen.outcomes === null ? seen : { ...seen, outcomes: [rejected] }),
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
  ])('continues to poll a job that the list leaves out if a poll %s', async (...row) => {
    const [, toPolled] = row;
    const { clock, lists, polls, begin, settled, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: listed.open.filter(({ id }) => id !== 'hidden') }),
      toPolled,
    });
    for (const ref of ['hidden', 'a', 'b']) begin(ref);
    await clock.advance(10 * minuteMs);
    expect(settled.flatMap((one) => one.settled)).toEqual([]);
    expect(new Set(polls().map(({ what }) => what))).toEqual(new Set(['hidden']));
    // As often as a single job is polled.
    expect(polls().length).toBeLessThan(30);
    expect(lists().length).toBeLessThan(60);
    stopping.abort();
  });

  it('requests a job that the list left out once, and requests it again only when it is due', async () => {
    let hidden = '';
    const { clock, polls, begin, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: listed.open.filter(({ id }) => id !== hidden) }),
    });
    for (const ref of ['a', 'b', 'c']) begin(ref);
    await clock.advance(5 * minuteMs);
    expect(polls()).toEqual([]);
    hidden = 'b';
    await clock.advance(10 * minuteMs);
    expect(polls().length).toBeGreaterThan(5);
    expect(polls().length).toBeLessThan(25);
    hidden = '';
    const before = polls().length;
    await clock.advance(10 * minuteMs);
    expect(polls().length - before).toBeLessThanOrEqual(1);
    stopping.abort();
  });

  it('reads the list for new jobs at most once a second, and settles the jobs that end meanwhile', async () => {
    const { clock, lists, polls, begin, end, settledAt } = createKlaviyo();
    for (let job = 0; job < 100; job++) {
      begin(`job-${job}`);
      await clock.advance(100);
      if (job >= 10) end(`job-${job - 10}`);
    }
    for (let job = 90; job < 100; job++) end(`job-${job}`);
    await clock.advance(minuteMs);
    expect(settledAt.size).toBe(100);
    expect(polls()).toHaveLength(100);
    for (const [index, { at }] of lists().entries()) {
      expect(at - (lists()[index - 1]?.at ?? -1000)).toBeGreaterThanOrEqual(1000);
    }
  });

  it('does not treat a job as ended that was added while the list was read', async () => {
    const { clock, polls, begin, stopping } = createKlaviyo({
      windows: [{ limit: 1, windowMs: 3000 }],
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(2000);
    begin('late');
    await clock.advance(1500);
    expect(polls()).toEqual([]);
    stopping.abort();
  });

  it('requests a job once an hour while the list shows it as open', async () => {
    const { clock, polls, begin, end, settledAt, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: ['a', 'b'].map((id) => ({ ...running.job, id })) }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(59 * minuteMs);
    end('a');
    expect(polls()).toEqual([]);
    await clock.advance(5 * minuteMs);
    expect(polls().map(({ what }) => what)).toEqual(['a', 'b']);
    expect([...settledAt.keys()]).toEqual(['a']);
    stopping.abort();
  });

  it('requests a listed job no more often than once an hour, whenever the process started', async () => {
    const { clock, polls, begin, stopping } = createKlaviyo();
    await clock.advance(120 * minuteMs);
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(59 * minuteMs);
    expect(polls()).toEqual([]);
    await clock.advance(75 * minuteMs);
    expect(polls().map(({ what }) => what)).toEqual(['a', 'b', 'a', 'b']);
    stopping.abort();
  });

  it('polls a new job when it is due, and not because a list does not show it yet', async () => {
    const { clock, polls, begin, stopping } = createKlaviyo({
      toListed: (listed) => ({ ...listed, open: listed.open.filter(({ id }) => id === 'old') }),
    });
    begin('old');
    await clock.advance(400);
    begin('new');
    await clock.advance(200);
    expect(polls()).toEqual([]);
    await clock.advance(1400);
    expect(polls()[0]?.what).toBe('new');
    stopping.abort();
  });

  it('counts a job as expired that the list showed as queued and that is gone later', async () => {
    const { clock, begin, end, settled } = createKlaviyo({
      toListed: (listed) => ({
        ...listed,
        open: listed.open.map((job) => ({ ...job, status: 'queued' })),
      }),
      toPolled: (seen) => ({
        ...seen,
        job: { ...seen.job, status: 'unreadable', completed: null, failed: null },
        outcomes: [{ kind: 'retryable', reason: { code: 'import_gone', detail: 'not there' } }],
      }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(3 * minuteMs);
    end('a');
    await clock.advance(minuteMs);
    expect(settled.at(-1)).toMatchObject({
      settled: [{ verdict: { kind: 'retry', reason: { code: 'import_expired' } } }],
    });
  });

  it('expires a job that the list shows as open for seven days, and sends its profiles again', async () => {
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

  it('saves that the list showed a job, so that a job that is deleted later counts as expired', async () => {
    const { clock, begin, end, settled } = createKlaviyo({
      toPolled: (seen) => ({
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

describe('polling import jobs without a usable list', () => {
  it.each<[string, (listed: ListedImportJobs) => ListedImportJobs]>([
    ['is an error', () => noList],
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
    'that %s is requested ever more rarely, and each job is polled as without a list',
    async (...row) => {
      const [, toListed] = row;
      const { clock, lists, polls, begin, end, settledAt, stopping } = createKlaviyo({ toListed });
      for (let job = 0; job < 10; job++) begin(`job-${job}`);
      await clock.advance(minuteMs);
      expect(lists().length).toBeLessThanOrEqual(2);
      expect(new Set(polls().map(({ what }) => what)).size).toBe(10);
      end('job-3');
      await clock.advance(minuteMs);
      expect([...settledAt.keys()]).toEqual(['job-3']);
      await clock.advance(58 * minuteMs);
      expect(lists().length).toBeLessThanOrEqual(12);
      stopping.abort();
    },
  );

  it('requests the list after half a minute, then ever more rarely up to every ten minutes, and anew after a list', async () => {
    let isRefused = true;
    const { clock, lists, begin, stopping } = createKlaviyo({
      toListed: (listed) => (isRefused ? noList : listed),
    });
    for (let job = 0; job < 50; job++) begin(`job-${job}`);
    await clock.advance(60 * minuteMs);
    const gaps = lists()
      .slice(1)
      .map(({ at }, index) => at - lists()[index]!.at);
    expect(gaps[0]).toBeGreaterThanOrEqual(30_000);
    expect(gaps[0]).toBeLessThan(minuteMs);
    expect(Math.max(...gaps)).toBeGreaterThan(9 * minuteMs);
    expect(Math.max(...gaps)).toBeLessThan(12 * minuteMs);
    isRefused = false;
    await clock.advance(15 * minuteMs);
    isRefused = true;
    await clock.advance(15 * minuteMs);
    const before = lists().length;
    // The fourth and fifth list after the last good one have been refused by now, and not only the first.
    expect(before - 1 - gaps.length).toBeGreaterThan(4);
    stopping.abort();
  });

  it('reads the list again once Klaviyo responds with a list', async () => {
    let isRefused = true;
    const { clock, polls, begin, stopping } = createKlaviyo({
      toListed: (listed) => (isRefused ? noList : listed),
    });
    for (let job = 0; job < 10; job++) begin(`job-${job}`);
    await clock.advance(10 * minuteMs);
    isRefused = false;
    await clock.advance(10 * minuteMs);
    const before = polls().length;
    await clock.advance(20 * minuteMs);
    expect(polls()).toHaveLength(before);
    stopping.abort();
  });

  it('uses the pages that were read, and requests the other jobs when they are due', async () => {
    const { clock, polls, begin, stopping } = createKlaviyo({
      toListed: ({ open, ...listed }) => ({
        ...listed,
        open: open.filter(({ id }) => id === 'a'),
        end: 'failed',
        requests: 2,
      }),
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(1000);
    expect(polls().map(({ what }) => what)).toEqual(['b']);
    stopping.abort();
  });

  it('pauses all requests after a throttled list, saves the pause, and requests the jobs after it', async () => {
    const { clock, requests, begin, end, settled, settledAt, stopping } = createKlaviyo({
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
    expect(requests.map(({ what }) => what)).toEqual(['list']);
    await clock.advance(1000);
    expect(requests.map(({ what }) => what)).toEqual(['list', 'a', 'b']);
    expect([...settledAt.keys()]).toEqual(['b']);
    expect(
      settled.at(-2)?.delivery?.following ?? settled.at(-1)?.delivery?.following,
    ).not.toHaveProperty('pause');
    stopping.abort();
  });

  it('stops waiting for the permit of the list when the relay stops, and settles nothing', async () => {
    const { clock, poller, begin, settled, fatalErrors, stopping } = createKlaviyo({
      windows: [{ limit: 1, windowMs: 3_600_000 }],
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(20_000);
    stopping.abort();
    await poller.idle();
    expect([poller.countEnvelopes(), settled, fatalErrors, clock.pending()]).toEqual([
      0,
      [],
      [],
      0,
    ]);
  });

  it('reports a list request that throws as fatal', async () => {
    const broken = new Error('a bug');
    const { clock, begin, fatalErrors, stopping } = createKlaviyo({
      toListed: () => {
        throw broken;
      },
    });
    for (const ref of ['a', 'b']) begin(ref);
    await clock.advance(1000);
    expect(fatalErrors).toEqual([broken]);
    stopping.abort();
  });

  it('continues to poll the other jobs if one poll throws', async () => {
    const broken = new Error('a bug');
    const { clock, begin, end, fatalErrors, settledAt, poller } = createKlaviyo({
      toPolled(seen) {
        if (seen.job.id === 'bad') throw broken;
        return { ...seen, outcomes: seen.outcomes && [delivered] };
      },
    });
    for (const ref of ['bad', 'good', 'late']) begin(ref);
    await clock.advance(3000);
    for (const ref of ['bad', 'good']) end(ref);
    await clock.advance(10_000);
    expect(fatalErrors).toEqual([broken]);
    expect([...settledAt.keys()]).toEqual(['good']);
    expect(poller.openJobs().count).toBe(1);
    end('late');
    await clock.advance(minuteMs);
    expect(poller.openJobs().count).toBe(0);
  });
});

describe('polling suppression jobs beside imports', () => {
  const suppression: Partial<Delivery> = { lane: 'suppress' };

  it('makes a poll for each of them, because the list has imports only', async () => {
    const { clock, lists, polls, begin, end, settledAt, stopping } = createKlaviyo();
    for (let job = 0; job < 10; job++) begin(`import-${job}`);
    for (const ref of ['a', 'b', 'c']) begin(ref, suppression);
    await clock.advance(minuteMs);
    expect(new Set(polls().map(({ what }) => what))).toEqual(new Set(['a', 'b', 'c']));
    expect(lists().length).toBeGreaterThan(3);
    end('b');
    await clock.advance(minuteMs);
    expect([...settledAt.keys()]).toEqual(['b']);
    stopping.abort();
  });

  it('does not wait for a pause of the polls of imports, nor imports for theirs', async () => {
    const { clock, limiter, polls, lists, begin, stopping } = createKlaviyo();
    for (const ref of ['i', 'j']) begin(ref);
    for (const ref of ['a', 'b']) begin(ref, suppression);
    limiter.pause('imports', minuteMs);
    await clock.advance(10_000);
    expect(lists()).toEqual([]);
    expect(polls().length).toBeGreaterThan(4);
    limiter.pause('suppress', 2 * minuteMs);
    const before = polls().length;
    await clock.advance(minuteMs);
    expect(polls()).toHaveLength(before);
    expect(lists().length).toBeGreaterThan(0);
    stopping.abort();
  });

  it('lets the list be read however many of them are open', async () => {
    const oneASecond = [{ limit: 1, windowMs: 1000 }];
    const { clock, lists, begin, stopping } = createKlaviyo({ suppressWindows: oneASecond });
    for (let job = 0; job < 100; job++) begin(`s-${job}`, suppression);
    for (const ref of ['i', 'j']) begin(ref);
    await clock.advance(minuteMs);
    expect(lists().length).toBeGreaterThan(3);
    stopping.abort();
  });
});
