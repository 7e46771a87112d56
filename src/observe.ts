import type { Engine } from './delivery/engine.js';
import type { OpenJobs } from './delivery/follow.js';
import type { Limiter } from './delivery/limiter.js';
import type { Pause } from './delivery/pauses.js';
import type { Clock, Timer } from './clock.js';
import { isLane, lanes, storeLanes, type Reason, type StoreLane } from './envelope.js';
import type { LimitDeps, Limits } from './limit.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import type { OpenStoreDeps } from './store/open.js';
import type { Refusal, Store } from './store/store.js';

export type Observed = {
  readonly store: Store;
  readonly engine: Engine;
  readonly limiter: Limiter;
  /** Of Klaviyo's API. `explain`: which one, why, and until when. */
  readonly revision: { readonly current: string; explain(): string };
};

/** Brings the gauges that mirror state up to date at each scrape. */
export function mirrorState({
  metrics,
  store,
  engine,
  limiter,
  revision,
}: Observed & { metrics: Metrics }): void {
  metrics.bufferCapacityBytes.set(store.capacityBytes());
  // Without labels a gauge is 0 from the start, which would mean that the lease is over.
  if (store.leaseLeftMs === undefined) metrics.storeLeaseLeft.remove();
  metrics.onScrape(() => {
    const pauses = engine.pauses();
    metrics.paused.reset();
    metrics.klaviyoRevision.reset();
    metrics.klaviyoRevision.set({ revision: revision.current }, 1);
    metrics.storeDurable.set(store.durable ? 1 : 0);
    if (store.leaseLeftMs) metrics.storeLeaseLeft.set(store.leaseLeftMs() / 1000);
    metrics.rateLimitTokens.set(Math.floor(limiter.tokens()));
    const jobs = engine.openJobs();
    metrics.importJobsOpen.set(jobs.count);
    metrics.importJobsOldestAge.set(jobs.oldestAgeMs / 1000);
    for (const lane of storeLanes) {
      const { count, bytes, oldestAgeMs, deadLetters } = store.depth(lane);
      metrics.bufferEnvelopes.set({ lane }, count);
      metrics.bufferBytes.set({ lane }, bytes);
      metrics.bufferOldestAge.set({ lane }, (oldestAgeMs ?? 0) / 1000);
      if (store.durability === 'server') mirrorBooks(lane, metrics, store);
      if (!isLane(lane)) continue;
      metrics.deadLetters.set({ lane }, deadLetters);
      for (const { reason } of pauses[lane]) metrics.paused.set({ lane, reason: reason.code }, 1);
    }
  });
}

/** Each relay counts what it does itself; together they are these, at every scrape of any of them. */
function mirrorBooks(lane: StoreLane, metrics: Metrics, store: Pick<Store, 'history'>): void {
  const { accepted, settled } = toBooks(lane, store);
  metrics.storeAccepted.set({ lane }, accepted);
  for (const [outcome, count] of settled) metrics.storeSettled.set({ lane, outcome }, count);
}

type StoreBooks = {
  readonly accepted: number;
  readonly settled: readonly (readonly [outcome: string, count: number])[];
};

/** What a store counted, by the outcomes of the metrics. */
function toBooks(lane: StoreLane, store: Pick<Store, 'history'>): StoreBooks {
  const { accepted, delivered, merged, deadLettered } = store.history(lane);
  if (lane === 'waiting') return { accepted, settled: [['resolved', delivered]] };
  return {
    accepted,
    settled: [
      ['delivered', delivered],
      ['merged', merged],
      ['dead_lettered', deadLettered],
    ],
  };
}

export function mirrorDroppedLines(metrics: Metrics, droppedLogLines: () => number): void {
  let counted = 0;
  metrics.onScrape(() => {
    const dropped = droppedLogLines();
    metrics.logLinesDropped.inc(dropped - counted);
    counted = dropped;
  });
}

/** Counters go on where the process before ended, so that the books balance over a restart, too. */
export function recallHistory(metrics: Metrics, store: Pick<Store, 'history'>): void {
  for (const lane of storeLanes) {
    const { accepted, settled } = toBooks(lane, store);
    metrics.ingest.inc({ lane, outcome: 'accepted' }, accepted);
    for (const [outcome, count] of settled) metrics.settled.inc({ lane, outcome }, count);
  }
}

export function toDiskReport(log: Logger): (isLow: boolean, freeBytes: number) => void {
  return (isLow, freeBytes) => {
    if (isLow)
      log.error({ freeBytes }, 'the disk is nearly full: intake stops until there is room');
    else log.info({ freeBytes }, 'there is room on the disk again: intake goes on');
  };
}

export function toLimiterReport(log: Logger): Pick<LimitDeps, 'onServer' | 'onFinding'> {
  return {
    onServer(isUp, why) {
      if (isUp) log.info('the limiter that relays share answers');
      else
        log.error(
          { why },
          'the limiter that relays share is away: nothing is sent that it did not permit',
        );
    },
    onFinding: (finding) => log.warn({ of: 'RATE_LIMIT_REDIS_URL' }, finding),
  };
}

/** What a store on Redis tells an operator. */
export function toServerReport(
  log: Logger,
): Pick<
  OpenStoreDeps,
  'onServer' | 'onDurability' | 'onTakenOver' | 'onLate' | 'onLeaseLost' | 'onBufferLost'
> {
  return {
    onServer(isUp, why) {
      if (isUp) log.info('Redis takes what is written: intake goes on');
      else log.error({ why }, 'Redis does not take what is written: intake stops until it does');
    },
    onDurability({ server, isDurable, isKnown, findings }) {
      const facts = { server, isDurable, isKnown };
      if (findings.length === 0) log.info(facts, 'Redis keeps what it acknowledges');
      for (const finding of findings) log.warn(facts, finding);
    },
    onBufferLost: (envelopes) =>
      log.error(
        { envelopes },
        'the buffer in Redis is gone, and a new one is begun: what was accepted and not delivered yet is lost',
      ),
    onTakenOver: (relays) =>
      log.warn({ relays }, 'relays are gone: what they held is sent by others'),
    onLate: (leftMs) =>
      log.error(
        { leftMs },
        'the heartbeat to Redis is late: when the lease ends, others send what this relay holds',
      ),
    onLeaseLost: (why) =>
      log.error(
        why === 'silence'
          ? 'this relay was not heard of for longer than its lease: others may send what it held'
          : 'Redis fell back on a replica that has not all of what it acknowledged: what this relay held is sent again',
      ),
  };
}

/** What both halves ask of the store while they work. */
type Watched = Pick<
  Store,
  | 'append'
  | 'putFacts'
  | 'getFacts'
  | 'claim'
  | 'holds'
  | 'settle'
  | 'unfinishedImports'
  | 'onUnfinished'
  | 'waiting'
  | 'onWaiting'
  | 'depth'
>;

/** Where the alarm begins, and where it may begin anew. */
const alarmAt = 0.8;
const calmAt = 0.7;
/** How often the count is read while nothing else says that it changed. */
const readAgainMs = 250;
const fullRetryAfterMs = 10_000;

export type DeadLetterWatchOptions = {
  readonly store: Watched & Pick<Store, 'durability'>;
  readonly maxCount: number;
  /** What happens at `maxCount`: nothing more is sent, or the store drops the oldest. */
  readonly overflow: 'pause' | 'drop-oldest';
  readonly clock: Pick<Clock, 'setTimer'>;
  readonly log: Logger;
  /** There is no room for another dead letter: null where there is again. */
  readonly onFull: (reason: Reason | null) => void;
};

export type DeadLetterWatch = {
  /** For both halves. Refuses what would go to the dead letters at intake while there is no room. */
  readonly store: Watched;
  /** Reads the count now, and from now on whenever it may have changed. */
  start(): void;
  close(): void;
};

/**
 * Keeps dead letters within their bound without dropping any: near the bound the log says so, and at
 * the bound nothing is sent that could be rejected. What is in flight by then may go beyond the bound.
 */
export function watchDeadLetters(options: DeadLetterWatchOptions): DeadLetterWatch {
  const { store, maxCount, overflow, clock, log, onFull } = options;
  let isAlarmed = false;
  let isFull = false;
  let timer: Timer | null = null;
  let isClosed = false;

  const count = (): number => lanes.reduce((sum, lane) => sum + store.depth(lane).deadLetters, 0);
  const hasNoRoom = (): boolean => overflow === 'pause' && count() >= maxCount;

  const raiseAlarm = (deadLetters: number): void => {
    if (deadLetters < calmAt * maxCount) isAlarmed = false;
    if (isAlarmed || deadLetters < alarmAt * maxCount) return;
    isAlarmed = true;
    log.error(
      { deadLetters, maxCount },
      overflow === 'pause'
        ? 'dead letters near their bound: redrive or discard them, or delivery pauses there'
        : 'dead letters near their bound: redrive or discard them, or the oldest will be dropped',
    );
  };

  const read = (): void => {
    raiseAlarm(count());
    const isFullNow = hasNoRoom();
    if (isFullNow !== isFull) onFull(isFullNow ? toFullReason(count(), maxCount) : null);
    isFull = isFullNow;
    timer?.cancel();
    // Where relays share the store, the others fill it and make room.
    const mayChange = isFull || store.durability === 'server';
    timer = mayChange && !isClosed ? clock.setTimer(readAgainMs, read) : null;
  };

  return {
    store: {
      claim: (lane, bounds) => store.claim(lane, bounds),
      // Absent where nobody shares the buffer: then a request need not be watched while it leaves.
      ...(store.holds && { holds: (envelopes) => store.holds?.(envelopes) ?? true }),
      unfinishedImports: () => store.unfinishedImports(),
      onUnfinished: (listener) => store.onUnfinished?.(listener),
      waiting: (lane) => store.waiting(lane),
      onWaiting: (listener) => store.onWaiting(listener),
      depth: (lane) => store.depth(lane),
      putFacts: (facts) => store.putFacts(facts),
      getFacts: (keys) => store.getFacts(keys),
      async append(drafts) {
        const buries = drafts.some(({ bury }) => bury !== undefined);
        if (buries && hasNoRoom()) return { ok: false, refusal: noRoom };
        const appended = await store.append(drafts);
        if (buries) read();
        return appended;
      },
      async settle(settlement) {
        await store.settle(settlement);
        read();
      },
    },
    start: read,
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

const noRoom: Refusal = { reason: 'dead_letters', retryAfterMs: fullRetryAfterMs };

function toFullReason(count: number, maxCount: number): Reason {
  const held = `there are ${String(count)} dead letters, and DEAD_LETTER_MAX_COUNT is ${String(maxCount)}`;
  const advice = 'redrive or discard some, or raise it';
  return { code: 'dead_letters_full', detail: `${held}: ${advice}` };
}

type Check = { readonly ok: boolean; readonly detail?: string };

const toCheck = (detail: string | null): Check =>
  detail === null ? { ok: true } : { ok: false, detail };

function toDetail({ reason }: Refusal, store: Pick<Store, 'outage'>): string {
  const why = reason === 'unavailable' ? store.outage?.() : null;
  return why ? `${reason}: ${why}` : reason;
}

export type Readiness = {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, Check>>;
};

/** Ready means willing and able to accept. The states of Klaviyo and of the shared limiter are shown, but do not make the relay unready while there is room. */
export function toReadiness({
  store,
  engine,
  limits,
  revision,
  draining,
}: Pick<Observed, 'store' | 'engine' | 'revision'> & {
  limits: Pick<Limits, 'shared'>;
  draining: boolean;
}): Readiness {
  const refusal = store.refusal();
  const checks: Record<string, Check> = {
    intake: draining ? { ok: false, detail: 'draining' } : { ok: true },
    store: refusal === null ? { ok: true } : { ok: false, detail: toDetail(refusal, store) },
  };
  const ready = !draining && refusal === null;
  if (limits.shared !== null) checks.limiter = toCheck(limits.shared.outage());
  for (const [lane, pauses] of Object.entries(engine.pauses())) {
    const detail = pauses.map(toPauseDetail).join('; ');
    checks[`klaviyo_${lane}`] = pauses.length === 0 ? { ok: true } : { ok: false, detail };
  }
  checks.klaviyo_revision = { ok: true, detail: revision.explain() };
  addOpenJobs(checks, engine.openJobs());
  return { ready, checks };
}

function toPauseDetail({ kind, reason, since }: Pause): string {
  const words = kind === reason.code ? reason.detail : `${reason.code}: ${reason.detail}`;
  return `${kind} since ${new Date(since).toISOString()}: ${words}`;
}

/** Klaviyo's imports usually end within seconds. */
const slowJobMs = 10_000;

function addOpenJobs(checks: Record<string, Check>, { count, oldestAgeMs }: OpenJobs): void {
  const name = 'klaviyo_profiles';
  const before = checks[name];
  if (before === undefined || oldestAgeMs < slowJobMs) return;
  const age = Math.round(oldestAgeMs / 1000);
  const jobs = `open import jobs: ${count}, the oldest for ${age} s`;
  checks[name] = { ...before, detail: [before.detail ?? [], jobs].flat().join('; ') };
}
