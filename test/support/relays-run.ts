import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import {
  startSandbox,
  type RunningSandbox,
  type SandboxOptions,
} from '../../src/sandbox/sandbox.js';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import {
  poisonRules,
  toTally,
  createFaultRules,
  formatLanes,
  untilJobsEnded,
  type Tally,
} from './crash-run.js';
import { Fleet } from './fleet.js';
import { Ledger } from './ledger.js';
import { watchMoments, type Moments } from './moments.js';
import { findProblems } from './oracle.js';
import { runPosters } from './posters.js';
import { startRedis, type RedisServer } from './redis-server.js';
import { compareRelays, postFreshToEach } from './compare-relays.js';
import { startRelayProcess } from './relay-process.js';
import { quickRelay } from './restarted-relay.js';
import { pick } from './seeded-load.js';
import { openSharedBuffer, type SharedBuffer } from './shared-buffer.js';
import {
  drawRelayFaults,
  injectRelayFault,
  takeoverLogLine,
  type RelayFault,
} from './relay-faults.js';

/** Klaviyo's rate windows: `env` configures the relays, and `windows` the sandbox. */
export type Rates = {
  readonly env: Readonly<Record<string, string>>;
  readonly windows: NonNullable<SandboxOptions['windows']>;
};

export const noRates: Rates = { env: {}, windows: 'off' };

export type RelaysOptions = {
  readonly seed: number;
  /** Number of faults of relays and Redis. */
  readonly faults: number;
  readonly rates?: Rates;
  /** No fault starts after this time. */
  readonly maxMs?: number;
};

export type RelaysReport = Tally & {
  readonly leaseMs: number;
  readonly faults: Readonly<Record<RelayFault, number>>;
  readonly relays: number;
  readonly rejectedPosts: number;
  readonly takeovers: number;
  /** Relays that were stopped for longer than their lease and logged it. */
  readonly leasesExpired: number;
  /** Requests by which a rate window was exceeded, as the sandbox counts them. */
  readonly violations: number;
};

/** Three relays, one Redis and one sandbox. */
export type RelaysWorld = {
  readonly seed: number;
  readonly random: () => number;
  readonly leaseMs: number;
  readonly sandbox: RunningSandbox;
  readonly redis: RedisServer;
  readonly buffer: SharedBuffer;
  readonly fleet: Fleet;
  readonly ledger: Ledger;
  readonly moments: Moments;
};

const prefix = 'relays';
/** Retry delays end within a second, so a buffer that does not shrink for this long is stuck. */
const settleMs = 30_000;

/** Starts relays, Redis and sandbox, runs `act`, and stops all of them. */
export async function withRelays<T>(
  { seed, rates = noRates }: Pick<RelaysOptions, 'seed' | 'rates'>,
  sandboxOptions: Partial<SandboxOptions>,
  act: (world: RelaysWorld) => Promise<T>,
): Promise<T> {
  const random = createSeededRandom(seed);
  // Longer than a busy machine holds up the sandbox: what a dead relay has sent must arrive before its lease ends.
  const leaseMs = pick(random, [2000, 3000]);
  const dataDir = await mkdtemp(join(tmpdir(), 'relays-'));
  const redis = await startRedis();
  const buffer = openSharedBuffer(redis.url, prefix);
  const sandbox = await startSandbox({
    clock: systemClock,
    windows: rates.windows,
    seed,
    importDelayMs: 60,
    maxEvents: 1_000_000,
    ...sandboxOptions,
  });
  const moments = watchMoments({ sandboxPort: sandbox.port, dataDir });
  const env = {
    ...quickRelay,
    // The delivery log keeps every receipt of the longest run.
    DELIVERY_LOG_MAX_COUNT: '1000000',
    STORE: 'redis',
    REDIS_URL: redis.url,
    REDIS_KEY_PREFIX: prefix,
    REDIS_LEASE_MS: String(leaseMs),
    ...rates.env,
  };
  const fleet = new Fleet(() => startRelayProcess({ klaviyoUrl: sandbox.url, dataDir, env }));
  const ledger = new Ledger(seed);
  try {
    await Promise.all([fleet.add(), fleet.add(), fleet.add()]);
    return await act({ seed, random, leaseMs, sandbox, redis, buffer, fleet, ledger, moments });
  } finally {
    await fleet.close('SIGKILL');
    moments.close();
    await buffer.close();
    await sandbox.close();
    await redis.close();
    await rm(dataDir, { recursive: true });
  }
}

/** Injects faults into relays and Redis while callers post, and compares the result with what was posted. */
export function runRelays(options: RelaysOptions): Promise<RelaysReport> {
  const from = systemClock.now();
  const faults = [...poisonRules, ...createFaultRules(options.faults)];
  return withRelays(options, { faults }, async (world) => {
    const trials = await postUnderFaults(world, options);
    return createRelaysReport(world, { trials, from });
  });
}

/** Resolves with the number of faults of each kind, once every sent request is acknowledged. */
async function postUnderFaults(
  world: RelaysWorld,
  { faults: count, maxMs = Infinity }: RelaysOptions,
): Promise<RelaysReport['faults']> {
  const { seed, random, ledger, fleet, moments } = world;
  const stop = new AbortController();
  const posting = runPosters({
    seed,
    ledger,
    send: (path, body) => fleet.send(path, body),
    onAcknowledged: () => moments.record('acknowledged'),
    stopping: stop.signal,
  });
  const counts = { kill: 0, add: 0, term: 0, freeze: 0, redis: 0, outage: 0 };
  const until = systemClock.monotonic() + maxMs;
  for (const fault of drawRelayFaults(random, count)) {
    if (systemClock.monotonic() > until) break;
    // Before `stop`, the posters end only when one fails.
    await Promise.race([injectRelayFault(fault, world), posting]);
    counts[fault]++;
  }
  stop.abort();
  await posting;
  await fleet.untilStarted();
  await fleet.untilEnded();
  return counts;
}

/** Errors that a relay logs because of the injected faults. */
const expected =
  /Redis does not take what is written|was not heard of for longer than its lease|the limiter that relays share is away|the heartbeat to Redis is late/;

async function createRelaysReport(
  world: RelaysWorld,
  { trials, from }: { readonly trials: RelaysReport['faults']; readonly from: number },
): Promise<RelaysReport> {
  const { seed, leaseMs, sandbox, buffer, fleet, ledger } = world;
  sandbox.clearFaults();
  for (const rule of poisonRules) sandbox.addFault(rule);
  const stuck = await buffer.untilEmpty(settleMs);
  const counts = await buffer.counts();
  const to = systemClock.now();
  const { deadLetters, problems: differences } = await compareRelays(world, counts);
  await untilJobsEnded(sandbox);
  const klaviyo = sandbox.state();
  const evidence = { seed, ledger, klaviyo, deadLetters, counts, from, to };
  const problems = [
    ...stuck,
    ...findProblems(evidence),
    ...differences,
    ...(await stopRelays(world)),
    ...fleet.problems(expected),
  ];
  return {
    ...toTally(evidence, problems),
    leaseMs,
    faults: trials,
    relays: fleet.started,
    rejectedPosts: fleet.rejectedPosts,
    takeovers: fleet.count(takeoverLogLine),
    leasesExpired: fleet.count('was not heard of for longer than its lease'),
    violations: klaviyo.violationCount,
  };
}

/** Posts a new event to each relay, stops all relays, and reads what they left in Redis. */
async function stopRelays(world: RelaysWorld): Promise<readonly string[]> {
  const { buffer, fleet } = world;
  const missing = await postFreshToEach(world, () => buffer.untilEmpty(settleMs));
  await fleet.close('SIGTERM');
  return [...missing, ...(await buffer.leftovers())];
}

/** Formats the report as a table. */
export function toRelaysText(report: RelaysReport): string {
  const faults = Object.entries(report.faults).map(([fault, count]) => `${count} ${fault}`);
  const rows: readonly (readonly [string, string | number])[] = [
    ['seed', `${report.seed}; leases of ${report.leaseMs} ms`],
    ['faults', faults.join(', ')],
    [
      'relays',
      `${report.relays} started; ${report.takeovers} takeovers, ${report.leasesExpired} leases expired in running relays`,
    ],
    [
      'posted',
      `${report.sent} in ${report.posts} requests; ${report.lostResponses} responses lost, ${report.rejectedPosts} posts rejected`,
    ],
    ['acknowledged', report.acknowledged],
    [
      'delivered',
      `${report.delivered} (${formatLanes(report)}), and ${report.merged} merged into newer ones`,
    ],
    ['dead-lettered', report.deadLettered],
    ['repeats', `${report.repeats} events that Klaviyo had already`],
    ['windows', `${report.violations} requests exceeded one`],
    ['time', `${report.seconds} s`],
    ['problems', report.problems.length],
  ];
  return `\n${rows.map(([name, value]) => `${name.padEnd(14)} ${value}`).join('\n')}\n`;
}
