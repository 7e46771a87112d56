import { expect, it } from 'vitest';
import { delivered } from '../support/builders.js';
import { createUnderTest } from './import-job-fixture.js';

/** Klaviyo's limits for each of the read routes of import jobs. The relay counts the routes together. */
const windows = [
  { limit: 10, windowMs: 1000 },
  { limit: 150, windowMs: 60_000 },
];

type Load = {
  /** Ms between two new jobs. */
  readonly everyMs: number;
  readonly openMs: number;
  readonly jobs: number;
  /** The counted time, from the start of the first job. */
  readonly from: number;
  readonly to: number;
};

/** Polls import jobs of a Klaviyo in this process, which serves the list of open jobs or rejects it. */
async function measure(load: Load, hasList: boolean) {
  const endsAt = new Map<string, number>();
  const requests: number[] = [];
  const isOpen = (ref: string): boolean => clock.monotonic() < (endsAt.get(ref) ?? 0);
  const toJob = (id: string) => {
    const status = isOpen(id) ? ('processing' as const) : ('complete' as const);
    return { id, status, completed: 0, failed: 0 };
  };
  const under = createUnderTest(
    async ({ ref }, _imported, permit) => {
      await permit();
      requests.push(clock.monotonic());
      const outcomes = isOpen(ref) ? null : [delivered];
      return { job: toJob(ref), outcomes, retryable: false, feedback: null };
    },
    {
      windows,
      async listImports(refs, permit) {
        await permit();
        requests.push(clock.monotonic());
        const open = hasList ? [...refs].filter(isOpen).map(toJob) : [];
        return { open, end: hasList ? 'complete' : 'failed', requests: 1, feedback: null };
      },
    },
  );
  const { clock, begin, poller, settledAt, stopping } = under;
  for (let number = 0; number < load.jobs; number++) {
    const ref = `job-${number}`;
    endsAt.set(ref, clock.monotonic() + load.openMs);
    begin(ref);
    await clock.advance(load.everyMs);
  }
  await clock.advance(Math.max(load.to - clock.monotonic(), 2 * load.openMs, minuteMs));
  stopping.abort();
  await poller.idle();
  const counted = requests.filter((at) => at >= load.from && at < load.to).length;
  const delays = Array.from(settledAt, ([ref, at]) => at - (endsAt.get(ref) ?? 0));
  return {
    perMinute: Math.round((counted / (load.to - load.from)) * 600_000) / 10,
    settled: delays.length,
    meanDelayMs: Math.round(delays.reduce((sum, ms) => sum + ms, 0) / delays.length),
    longestDelayMs: Math.round(Math.max(...delays)),
  };
}

type Measured = Awaited<ReturnType<typeof measure>>;

/** Prints the measured rates. ADR 27 has the figures. */
function print(what: string, { before, after }: Readonly<Record<'before' | 'after', Measured>>) {
  const toText = ({ perMinute, meanDelayMs, longestDelayMs }: Measured): string =>
    `${perMinute} requests a minute, settled ${meanDelayMs} ms after the end (at most ${longestDelayMs})`;
  process.stdout.write(
    `${what}\n  a poll at each job: ${toText(before)}\n  the list of open jobs: ${toText(after)}\n`,
  );
}

const minuteMs = 60_000;

/** Requests a minute: more than `before` without the list, fewer than `after` with it. */
type Bounds = {
  readonly before: number;
  readonly after: number;
  /** From the end of a job to its settlement, with the list. */
  readonly longestDelayMs?: number;
};

it.each<[string, Load, Bounds]>([
  [
    '50 jobs, begun within 20 s: their first minute',
    { everyMs: 400, openMs: 10 * minuteMs, jobs: 50, from: 0, to: minuteMs },
    { before: 140, after: 35 },
  ],
  [
    '50 jobs that are open for long: their second to tenth minute',
    { everyMs: 400, openMs: 10 * minuteMs, jobs: 50, from: minuteMs, to: 10 * minuteMs },
    { before: 90, after: 3 },
  ],
  [
    '50 jobs open at any time: one begins every 2 s and is open for 100 s',
    { everyMs: 2000, openMs: 100_000, jobs: 300, from: 2 * minuteMs, to: 10 * minuteMs },
    { before: 140, after: 100 },
  ],
  [
    'one job begins every 2 s and is open for 5 s',
    { everyMs: 2000, openMs: 5000, jobs: 300, from: 2 * minuteMs, to: 10 * minuteMs },
    { before: 140, after: 100 },
  ],
  [
    'as many jobs begin as Klaviyo allows, 150 a minute, and each is open for 5 s',
    { everyMs: 400, openMs: 5000, jobs: 900, from: 2 * minuteMs, to: 6 * minuteMs },
    { before: 140, after: 151, longestDelayMs: 30_000 },
  ],
])(
  'with %s, polling by the list needs fewer requests or settles sooner',
  async (what, load, bounds) => {
    const before = await measure(load, false);
    const after = await measure(load, true);
    print(what, { before, after });
    expect(after.settled).toBe(load.jobs);
    expect(before.perMinute).toBeGreaterThan(bounds.before);
    expect(after.perMinute).toBeLessThan(bounds.after);
    expect(after.longestDelayMs).toBeLessThan(bounds.longestDelayMs ?? Infinity);
  },
);
