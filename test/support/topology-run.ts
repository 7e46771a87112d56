import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, type Clock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import { poisonRules, toTally, untilJobsEnded, type Tally } from './crash-run.js';
import { Fleet } from './fleet.js';
import { Ledger } from './ledger.js';
import { watchMoments, type Moments } from './moments.js';
import { findLostEvents, findProblems } from './oracle.js';
import { makeOtherBuild } from './other-build.js';
import { runPosters } from './posters.js';
import { startRelayProcess } from './relay-process.js';
import { compareRelays, postFreshToEach } from './compare-relays.js';
import type { Rates } from './relays-run.js';
import { quickRelay } from './restarted-relay.js';
import { below, pick, type Random } from './seeded-load.js';
import { openSharedBuffer, type SharedBuffer } from './shared-buffer.js';
import { startTopology, type Topology } from './topology.js';
import { injectFault, untilWhole, type Fault } from './topology-faults.js';

export type TopologyOptions = {
  readonly seed: number;
  readonly kind: Topology['kind'];
  readonly draw: (random: Random) => readonly Fault[];
  /** REDIS_WAIT_REPLICAS: with 1, no acknowledged envelope may be lost. */
  readonly waitReplicas: number;
  /** Klaviyo's rate windows. */
  readonly rates: Rates;
  /** No fault starts after this time. */
  readonly maxMs?: number;
};

/** What happened from one fault until the next one. */
export type FaultRow = {
  readonly fault: Fault;
  readonly seconds: number;
  readonly acknowledged: number;
  readonly recorded: number;
  readonly lost: number;
  readonly sentTwice: number;
  readonly rejectedPosts: number;
  /** Time from the first rejected post to the last one. */
  readonly rejectingMs: number;
  /** Time from the end of the fault until every relay accepts posts. */
  readonly recoveryMs: number;
  readonly exits: number;
};

export type TopologyReport = Tally & {
  readonly kind: Topology['kind'];
  readonly waitReplicas: number;
  readonly rows: readonly FaultRow[];
  readonly relays: number;
  readonly violations: number;
  readonly uncertain: number;
};

type World = {
  readonly options: TopologyOptions;
  readonly random: Random;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly slotKey: string;
  readonly sandbox: RunningSandbox;
  readonly topology: Topology;
  readonly buffer: SharedBuffer;
  readonly fleet: Fleet;
  readonly ledger: Ledger;
  readonly moments: Moments;
  readonly changeScripts: () => void;
  readonly onAbruptEnd: () => void;
};

const prefix = 'topology';
const settleMs = 60_000;
/**
 * When a server ends, envelopes that it acknowledged within this time may be lost, unless it waits for its
 * replicas. Callers may read an acknowledgement this much later.
 */
const uncertainMs = 1000;
/** Maximum time from the end of a fault until every relay accepts posts again. */
const serviceMs = 15_000;

/** Injects faults into relays and their shared Redis servers while callers post, and reports the result. */
export async function runTopology(options: TopologyOptions): Promise<TopologyReport> {
  const { seed, kind, waitReplicas, rates } = options;
  const clock = systemClock;
  const random = createSeededRandom(seed);
  const leaseMs = pick(random, [2000, 4000]);
  const slotKey = `{${prefix}}:meta`;
  const dataDir = await mkdtemp(join(tmpdir(), 'topology-'));
  const other = await makeOtherBuild();
  const topology = await startTopology(kind, slotKey);
  const sandbox = await startSandbox({
    clock,
    seed,
    windows: rates.windows,
    importDelayMs: 60,
    maxEvents: 1_000_000,
    faults: poisonRules,
  });
  const env = {
    ...quickRelay,
    ...rates.env,
    DELIVERY_LOG_MAX_COUNT: '1000000',
    STORE: 'redis',
    REDIS_URL: topology.url,
    REDIS_KEY_PREFIX: prefix,
    REDIS_LEASE_MS: String(leaseMs),
    REDIS_TIMEOUT_MS: String(pick(random, [500, 1000])),
    ...(waitReplicas > 0 && { REDIS_WAIT_REPLICAS: String(waitReplicas) }),
  };
  let isOther = false;
  const fleet = new Fleet(() =>
    startRelayProcess({
      ...{ klaviyoUrl: sandbox.url, dataDir, env },
      ...(isOther && { main: other.main }),
    }),
  );
  const abrupt: number[] = [];
  const ledger = new Ledger(seed, {
    now: () => clock.monotonic(),
    mayBeLost: (at) =>
      waitReplicas === 0 && abrupt.some((ended) => Math.abs(ended - at) <= uncertainMs),
  });
  const buffer = openSharedBuffer(topology.url, prefix);
  const moments = watchMoments({ sandboxPort: sandbox.port, dataDir });
  try {
    await Promise.all(Array.from({ length: 2 + below(random, 2) }, () => fleet.add()));
    const parts = { random, clock, leaseMs, slotKey, sandbox, topology, buffer };
    return await runFaults({
      ...parts,
      ...{ options, fleet, ledger, moments },
      changeScripts: () => (isOther = !isOther),
      onAbruptEnd: () => void abrupt.push(clock.monotonic()),
    });
  } finally {
    await fleet.close('SIGKILL');
    moments.close();
    await buffer.close();
    await sandbox.close();
    await topology.close();
    await other.remove();
    await rm(dataDir, { recursive: true });
  }
}

type Span = Omit<FaultRow, 'acknowledged' | 'recorded' | 'lost' | 'seconds'> & {
  readonly from: number;
  readonly to: number;
};

async function runFaults(world: World): Promise<TopologyReport> {
  const { options, random, clock, fleet, ledger, moments } = world;
  const from = clock.now();
  const stop = new AbortController();
  const posting = runPosters({
    seed: options.seed,
    ledger,
    send: (path, body) => fleet.send(path, body),
    onAcknowledged: () => moments.record('acknowledged'),
    stopping: stop.signal,
  });
  const spans: Span[] = [];
  const problems: string[] = [];
  const until = clock.monotonic() + (options.maxMs ?? Infinity);
  for (const fault of options.draw(random)) {
    if (clock.monotonic() > until) break;
    const span = startSpan(fault, world);
    // Before `stop`, the posters end only when one fails.
    const inflicted = await Promise.race([
      injectFault(fault, world).then(() => true),
      posting.then(() => false),
    ]);
    if (!inflicted) break;
    const ended = clock.monotonic();
    problems.push(...(await findStandstill(fault, world)));
    spans.push(await span.end(ended));
    if (problems.length > 0) break;
  }
  stop.abort();
  await posting;
  await fleet.untilStarted();
  await fleet.untilEnded();
  return createTopologyReport(world, { from, spans, problems });
}

/** Counts rejected posts, exits and repeats while a fault lasts. */
function startSpan(fault: Fault, { clock, fleet, sandbox }: World) {
  const from = clock.monotonic();
  const [rejectedPosts, exits] = [fleet.rejectedPosts, fleet.exits];
  const { repeats } = sandbox.state().counters;
  const refused: number[] = [];
  const stop = fleet.onRejected(() => void refused.push(clock.monotonic()));
  return {
    end: (ended: number): Promise<Span> => {
      stop();
      const to = clock.monotonic();
      return Promise.resolve({
        ...{ fault, from, to },
        sentTwice: sandbox.state().counters.repeats - repeats,
        rejectedPosts: fleet.rejectedPosts - rejectedPosts,
        rejectingMs: (refused.at(-1) ?? 0) - (refused[0] ?? 0),
        recoveryMs: to - ended,
        exits: fleet.exits - exits,
      });
    },
  };
}

/** Returns a problem if a relay does not accept posts within `serviceMs` after a fault. */
async function findStandstill(fault: Fault, world: World): Promise<readonly string[]> {
  const { clock, fleet, moments } = world;
  const end = clock.monotonic() + serviceMs;
  await fleet.untilStarted();
  for (const { url, running } of fleet.members) {
    for (;;) {
      const response = await fetch(`${url}/readyz`).catch(() => null);
      if (response?.status === 200) break;
      if (clock.monotonic() > end)
        return [
          `after ${fault} a relay is not ready: ${(await response?.text()) ?? running.stderr()}`,
        ];
      await response?.arrayBuffer();
      await moments.after('acknowledged', 1).catch(() => undefined);
    }
  }
  await moments.after('acknowledged', 10);
  return [];
}

const expected =
  /Redis does not take what is written|was not heard of for longer than its lease|the limiter that relays share is away|Redis fell back on a replica|the heartbeat to Redis is late/;

async function createTopologyReport(
  world: World,
  run: {
    readonly from: number;
    readonly spans: readonly Span[];
    readonly problems: readonly string[];
  },
): Promise<TopologyReport> {
  const { options, sandbox, buffer, fleet, ledger, clock } = world;
  await untilWhole(world);
  const stuck = await buffer.untilEmpty(settleMs);
  const counts = await buffer.counts();
  const to = clock.now();
  const afterwards = { ...world, seed: options.seed };
  const { deadLetters, problems: differences } = await compareRelays(afterwards, counts);
  await untilJobsEnded(sandbox);
  const klaviyo = sandbox.state();
  const evidence = { seed: options.seed, ledger, klaviyo, deadLetters, counts, from: run.from, to };
  const lost = new Set(findLostEvents(evidence));
  const found = findProblems(evidence);
  const missing = await postFreshToEach(afterwards, () => buffer.untilEmpty(settleMs));
  await fleet.close('SIGTERM');
  const problems = [
    ...run.problems,
    ...stuck,
    ...found,
    ...differences,
    ...missing,
    ...(await buffer.leftovers()),
    ...fleet.problems(expected),
  ];
  return {
    ...toTally(evidence, problems),
    kind: options.kind,
    waitReplicas: options.waitReplicas,
    rows: run.spans.map((span) => toRow(span, ledger, lost)),
    relays: fleet.started,
    violations: klaviyo.violationCount,
    uncertain: ledger.countUncertain(),
  };
}

function toRow({ from, to, ...span }: Span, ledger: Ledger, lost: ReadonlySet<number>): FaultRow {
  const own = [...ledger.eventTimes].filter(([, at]) => at >= from && at < to);
  const missing = own.filter(([number]) => lost.has(number)).length;
  return {
    ...span,
    seconds: Math.round((to - from) / 1000),
    acknowledged: own.length,
    recorded: own.length - missing,
    lost: missing,
  };
}

/** Formats the report as a table. */
export function toTopologyText(report: TopologyReport): string {
  const head = [
    'fault   ',
    'seconds',
    'acknowledged',
    'recorded',
    'lost',
    'sent twice',
    '503',
    'for s',
    'back s',
  ];
  const rows = report.rows.map((row) => [
    ...[
      row.fault,
      row.seconds,
      row.acknowledged,
      row.recorded,
      row.lost,
      row.sentTwice,
      row.rejectedPosts,
    ],
    ...[(row.rejectingMs / 1000).toFixed(1), (row.recoveryMs / 1000).toFixed(1), row.exits],
  ]);
  const lines = [[...head, 'exits'], ...rows].map((row) =>
    row.map((cell, at) => String(cell).padEnd((head[at] ?? 'exits').length + 2)).join(''),
  );
  const { seed, kind, waitReplicas, seconds, violations, uncertain, problems } = report;
  const more = [
    `${kind}, seed ${seed}, REDIS_WAIT_REPLICAS ${waitReplicas}, ${report.relays} relays, ${seconds} s`,
    `${report.acknowledged} acknowledged, ${report.delivered} delivered, ${report.merged} merged, ${report.deadLettered} dead-lettered`,
    `${uncertain} acknowledged within one second of the end of a server, ${report.repeats} sent twice, ${violations} requests beyond a window, ${problems.length} problems`,
  ];
  return `\n${[...more, ...lines].join('\n')}\n`;
}
