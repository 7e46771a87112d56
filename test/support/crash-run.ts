import { systemClock } from '../../src/clock.js';
import type { RunningSandbox } from '../../src/sandbox/sandbox.js';
import { settlePromises } from './manual-clock.js';
import { createSeededRandom, type FaultRule } from '../../src/sandbox/faults.js';
import { Ledger } from './ledger.js';
import { moments, type Moment } from './moments.js';
import { lanes, mapLanes, type Lane } from '../../src/model/lane.js';
import { findProblems, readDeadLetters, type Evidence, type DeadLetterView } from './oracle.js';
import { postEvent, runPosters, createSend } from './posters.js';
import { runCommand } from './relay-process.js';
import { fetchText, untilSettled, withRestartedRelay, type World } from './restarted-relay.js';
import { below, makeEvent, pick, toInsertId } from './seeded-load.js';

export type CrashOptions = {
  readonly seed: number;
  readonly kills: number;
  /** No kill happens after this time; everything posted before is still checked. */
  readonly maxMs?: number;
  /** Further fault rules of the sandbox. */
  readonly faults?: readonly FaultRule[];
  /** How far the relay's wall clock is ahead, ms. */
  readonly clockOffsetMs?: number;
  /** Settings of the relay besides `quickRelay`. */
  readonly env?: Readonly<Record<string, string>>;
};

/** Counts and problems of a run. */
export type Tally = {
  readonly seed: number;
  /** Requests, and the requests whose response was lost. */
  readonly posts: number;
  readonly lostResponses: number;
  readonly sent: number;
  readonly acknowledged: number;
  readonly delivered: number;
  readonly deliveredBy: Readonly<Record<Lane, number>>;
  readonly merged: number;
  readonly deadLettered: number;
  /** Events sent to Klaviyo again that it had already recorded. */
  readonly repeats: number;
  readonly seconds: number;
  /** Empty if no record was lost, duplicated, changed or invented. */
  readonly problems: readonly string[];
};

export type CrashReport = Tally & {
  readonly kills: number;
  readonly killsBy: Readonly<Record<Moment, number>>;
  /** Revisions of the requests. */
  readonly revisions: readonly (string | null)[];
};

/** Faults for a share of all requests. A 429 pauses a lane for more than a second, so there are few of them. */
export const createFaultRules = (kills: number): readonly FaultRule[] => [
  { endpoint: 'any', probability: 0.02, status: 429, times: Math.ceil(kills / 4) },
  { endpoint: 'any', probability: 0.08, status: 503 },
  { endpoint: 'any', probability: 0.05, reset: 'before' },
  { endpoint: 'any', probability: 0.1, reset: 'after' },
  // Profiles in flight at a kill, beside others that were sent back: a restart must keep their order.
  { endpoint: 'bulk-profiles', probability: 0.3, delayMs: 250 },
  { endpoint: 'bulk-profiles', probability: 0.3, status: 503 },
  { endpoint: 'subscribe', probability: 0.3, status: 503 },
  { endpoint: 'unsubscribe', probability: 0.3, status: 503 },
  { endpoint: 'profile-import', probability: 0.3, status: 503 },
  { endpoint: 'suppress', probability: 0.3, status: 503 },
  { endpoint: 'deletion', probability: 0.3, status: 503 },
  { endpoint: 'unsuppress', probability: 0.3, status: 503 },
  { endpoint: 'any', probability: 0.3, delayMs: 30 },
];

/** Rules that reject bad records, which become dead letters; they stay active until the end. */
export const poisonRules: readonly FaultRule[] = [
  createPoisonRule('bulk-events', 'named'),
  createPoisonRule('bulk-events', 'unnamed'),
  createPoisonRule('bulk-profiles', 'named'),
  createPoisonRule('bulk-profiles', 'unnamed'),
  createPoisonRule('bulk-profiles', 'in job'),
];

function createPoisonRule(endpoint: 'bulk-events' | 'bulk-profiles', mark: string): FaultRule {
  const pointer = mark === 'unnamed' ? 'none' : 'exact';
  const at = mark === 'in job' ? 'job' : 'request';
  const when = { path: '/properties/mark', equals: mark };
  return { endpoint, poison: { when, pointer, at, detail: 'no' } };
}

type Run = World & CrashOptions & { readonly ledger: Ledger; readonly from: number };

/** Kills the relay repeatedly while callers post, and compares the result with what was posted. */
export function runCrashes(options: CrashOptions): Promise<CrashReport> {
  const { seed, kills, env = {}, clockOffsetMs = 0 } = options;
  const faults = [...poisonRules, ...createFaultRules(kills), ...(options.faults ?? [])];
  const from = systemClock.now() + clockOffsetMs;
  return withRestartedRelay(
    { seed, faults, env, importDelayMs: 60, maxEvents: 1_000_000 },
    async (world) => {
      const run = { ...world, ...options, ledger: new Ledger(seed), from };
      const killsBy = await killAndPost(run);
      return createCrashReport(run, killsBy);
    },
  );
}

/** Maximum count of each moment before a kill. */
const maxCounts = { acknowledged: 60, arrived: 14, answered: 14, written: 36 } as const;
/** Acknowledged posts after which a kill follows in any case, so that a paused lane does not collect a large backlog. */
const maxPosts = 100;

/** Resolves with the number of kills at each moment, once every sent request is acknowledged. */
async function killAndPost(run: Run): Promise<CrashReport['killsBy']> {
  const { seed, kills, maxMs = Infinity, relay, ledger } = run;
  const random = createSeededRandom(seed);
  const killsBy = { acknowledged: 0, arrived: 0, answered: 0, written: 0 };
  const until = systemClock.monotonic() + maxMs;
  const stop = new AbortController();
  const posting = runPosters({
    seed,
    ledger,
    send: createSend(() => relay.url()),
    onAcknowledged: () => run.moments.record('acknowledged'),
    stopping: stop.signal,
  });
  for (let kill = 0; kill < kills && systemClock.monotonic() < until; kill++) {
    const moment = pick(random, moments);
    const times = 1 + below(random, maxCounts[moment]);
    const after = [run.moments.after(moment, times), run.moments.after('acknowledged', maxPosts)];
    // Before `stop`, the posters end only when one fails.
    await Promise.race([...after, posting]);
    relay.killAndStart();
    killsBy[moment]++;
  }
  stop.abort();
  await posting;
  return killsBy;
}

async function createCrashReport(run: Run, killsBy: CrashReport['killsBy']): Promise<CrashReport> {
  const { seed, sandbox, relay, ledger, from } = run;
  sandbox.clearFaults();
  for (const rule of [...poisonRules, ...(run.faults ?? [])]) sandbox.addFault(rule);
  const counts = await untilSettled(relay);
  await untilJobsEnded(sandbox);
  const deadLetters = await fetchDeadLetters(await relay.url());
  const klaviyo = sandbox.state();
  const to = systemClock.now() + (run.clockOffsetMs ?? 0);
  const evidence = { seed, ledger, klaviyo, deadLetters, counts, from, to };
  const problems = [...findProblems(evidence), ...(await findProblemsAfterwards(run))];
  return {
    ...toTally(evidence, problems),
    kills: Object.values(killsBy).reduce((sum, count) => sum + count, 0),
    killsBy,
    revisions: [...new Set(klaviyo.requests.map(({ revision }) => revision))].sort(),
  };
}

export function toTally(
  { seed, ledger, klaviyo, deadLetters, counts, from, to }: Evidence,
  problems: readonly string[],
): Tally {
  return {
    seed,
    posts: ledger.posts,
    lostResponses: ledger.lostResponses,
    sent: ledger.sentEvents.size + ledger.sentUpdates + ledger.sentActions,
    acknowledged: ledger.acknowledgedEvents.size + ledger.updateIds.size + ledger.actionIds.size,
    delivered: lanes.reduce((sum, lane) => sum + counts[lane].delivered, 0),
    merged: counts.profiles.merged,
    deliveredBy: mapLanes((lane) => counts[lane].delivered),
    deadLettered: deadLetters.length,
    repeats: klaviyo.counters.repeats,
    seconds: Math.round((to - from) / 1000),
    problems: truncateProblems(problems),
  };
}

/** Checks that a new event is delivered, SIGTERM ends the relay with 0, the journal is intact, and no error was logged. */
async function findProblemsAfterwards(run: Run): Promise<readonly string[]> {
  const { seed, relay, ledger, sandbox } = run;
  const fresh = findFreshEvent(seed, ledger);
  await postEvent({ seed, ledger, send: createSend(() => relay.url()) }, fresh);
  await untilSettled(relay);
  const isThere = sandbox.state().events.some(({ uniqueId }) => uniqueId === toInsertId(fresh));
  const code = await relay.end('SIGTERM');
  const check = await runCommand(['store', 'check', run.dataDir]);
  return [
    ...(isThere ? [] : ['a new event did not reach Klaviyo']),
    ...(code === 0 ? [] : [`SIGTERM ends it with ${String(code)}`]),
    ...(check.code === 0 ? [] : [`store check ends with ${String(check.code)}:\n${check.output}`]),
    ...relay.errorLines(),
  ];
}

/** Resolves once Klaviyo has done the work of the jobs that it accepted. */
export async function untilJobsEnded(sandbox: Pick<RunningSandbox, 'state'>): Promise<void> {
  while (sandbox.state().openJobs > 0) await settlePromises();
}

/** Returns the number of a good event that was not posted yet. */
export function findFreshEvent(seed: number, { sentEvents }: Ledger): number {
  let number = sentEvents.size;
  while (sentEvents.has(number) || makeEvent(seed, number).properties.mark !== 'good') number++;
  return number;
}

export async function fetchDeadLetters(url: string): Promise<readonly DeadLetterView[]> {
  const list = `${url}/v1/dead-letters?limit=1000`;
  const deadLetters: DeadLetterView[] = [];
  for (let cursor = ''; ;) {
    const page = readDeadLetters(await fetchText(list + cursor));
    deadLetters.push(...page.deadLetters);
    if (page.next === null) return deadLetters;
    cursor = `&cursor=${page.next}`;
  }
}

const maxProblems = 20;

function truncateProblems(problems: readonly string[]): readonly string[] {
  const more = problems.length - maxProblems;
  return more > 0 ? [...problems.slice(0, maxProblems), `and ${more} more`] : problems;
}

export const formatLanes = ({ deliveredBy }: Tally): string =>
  lanes.map((lane) => `${deliveredBy[lane]} ${lane}`).join(', ');

/** Formats the report as a table. */
export function toReportText(report: CrashReport): string {
  const killsBy = Object.entries(report.killsBy).map(([moment, count]) => `${count} ${moment}`);
  const rows: readonly (readonly [string, string | number])[] = [
    ['seed', report.seed],
    ['kills', `${report.kills}, by the moment: ${killsBy.join(', ')}`],
    [
      'posted',
      `${report.sent} in ${report.posts} requests; ${report.lostResponses} responses lost`,
    ],
    ['acknowledged', report.acknowledged],
    [
      'delivered',
      `${report.delivered} (${formatLanes(report)}), and ${report.merged} merged into newer ones`,
    ],
    ['dead-lettered', report.deadLettered],
    ['repeats', `${report.repeats} events that Klaviyo had already recorded`],
    ['time', `${report.seconds} s`],
    ['problems', report.problems.length],
  ];
  return `\n${rows.map(([name, value]) => `${name.padEnd(14)} ${value}`).join('\n')}\n`;
}
