import { wait, type Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createEngine, type Engine } from '../delivery/engine.js';
import { lanes, storeLanes, type StoreLane } from '../model/lane.js';
import { quotaWindowMs } from '../http/plugins/rate-limit.js';
import { createServer } from '../http/server.js';
import { createAccept } from '../ingest/accept.js';
import { SourceActivity } from '../ingest/source-activity.js';
import { createAcceptFromSource } from '../ingest/accept-from-source.js';
import { applyMapping } from '../sources/mapping/mapping.js';
import { createReingest } from '../ingest/reingest.js';
import { withoutUnchangedOrders } from '../ingest/facts.js';
import { startThreads } from '../ingest/threads.js';
import { createWaitingEntries, toCheckIntervalMs, WaitingBounds } from '../ingest/waiting.js';
import { createKlaviyoClient } from '../klaviyo/client.js';
import { selectProxy } from '../klaviyo/proxy.js';
import { mergeProfiles, overheadBytes } from '../klaviyo/request.js';
import { saveRevision, loadRevision, CurrentRevision, toRules } from '../klaviyo/revision.js';
import { openLimiter, type OpenedLimiter } from './open-limiter.js';
import { createLiveSettings, type Reloaded } from './live-settings.js';
import type { Logger } from '../log/logger.js';
import { createMetrics, type Metrics } from '../metrics.js';
import { countDroppedLogLines, updateStateMetrics, restoreCounters } from './state-metrics.js';
import { toDiskReport, toLimiterReport, toServerReport } from './operator-log.js';
import { toReadiness } from './readiness.js';
import { watchDeadLetters } from './dead-letter-bound.js';
import { createSharedCount } from '../redis/quota.js';
import { Releasers } from './releasers.js';
import { createSourceRoutes } from '../sources/list.js';
import { openStore } from '../store/open.js';
import type { Store } from '../model/store.js';
import { toViews, unlessAway } from './views.js';

export type AppDeps = {
  readonly config: Config;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /** A new unique_id. */
  readonly newId: () => string;
  readonly log: Logger;
  /** Log lines that were dropped so far. */
  readonly droppedLogLines: () => number;
  readonly version: string;
  /** Ms that stand in for the clock of Redis, in tests. */
  readonly serverTime?: () => number;
  /** Our own fault, such as a store that fails: the caller ends the process. */
  readonly onFatal: (error: unknown) => void;
  /** Aborted: the start is given up at its next step, and rejects. */
  readonly signal?: AbortSignal;
};

/** How long parts may take to stop after a failed start, ms: nothing was accepted that has to be sent. */
const failedStartLimitMs = 1000;

/** A relay that listens. */
export type App = {
  readonly url: string;
  readonly metrics: Metrics;
  /**
   * Goes the datum's path backwards: readiness off, intake, claiming, what is in flight, client,
   * store. Idempotent; takes SHUTDOWN_TIMEOUT_MS at most.
   */
  stop(): Promise<void>;
  /** Takes over keys, secrets and the mapping of these settings; the others stay as they are. */
  reload(next: Config): Reloaded;
};

/** The composition root. Rejects where a part cannot be started; all parts before it are stopped then. */
export async function startApp(deps: AppDeps): Promise<App> {
  const started = new Releasers();
  try {
    return await startParts(deps, started);
  } catch (error) {
    await stopWithin(failedStartLimitMs, started, deps.clock).catch((cause: unknown) =>
      deps.log.error({ err: cause }, 'a part did not stop after the start had failed'),
    );
    throw error;
  }
}

/** Every part is made here and handed what it needs; `started` receives how to stop it. */
async function startParts(deps: AppDeps, started: Releasers): Promise<App> {
  const { config, clock, log } = deps;
  const live = createLiveSettings(config);
  const metrics = createMetrics(deps.version);
  let isClosed = false;
  // A request that outlives the time to stop finds its store closed: that is no fault.
  const onFatal = (error: unknown): void => {
    if (!isClosed) deps.onFatal(error);
  };
  const proxy = selectProxy(config.KLAVIYO_BASE_URL, config);
  const revision = new CurrentRevision({
    setting: config.KLAVIYO_REVISION,
    now: clock.now(),
    onMove: (move) => {
      log.warn(move, 'Klaviyo does not serve the revision any more: the next tested one is used');
      void saveRevision(store, move.to);
    },
  });
  const client = createKlaviyoClient({
    apiKey: () => live.settings.KLAVIYO_API_KEY,
    baseUrl: config.KLAVIYO_BASE_URL,
    revision,
    timeoutMs: config.KLAVIYO_TIMEOUT_MS,
    connections: config.DELIVERY_CONCURRENCY * lanes.length + 1,
    proxy,
    clock,
    version: deps.version,
  });
  started.add(() => client.close());
  const store: Store = await openStore(config, {
    ...deps,
    onFatal,
    onDeadLetterDropped: ({ id, lane }) => {
      metrics.deadLettersDropped.inc({ lane });
      log.error({ id, lane }, 'a dead letter was dropped at the bound: it is lost');
    },
    onSynced: (seconds) => metrics.storeSync.observe(seconds),
    onDiskSpace: toDiskReport(log),
    onExposedFile: (path) =>
      log.warn(
        { path },
        'others can read this file of the journal, and this process may not change that',
      ),
    time: deps.serverTime,
    account: () => client.probeAccount(),
    ...toServerReport(log),
  });
  started.add(() => {
    isClosed = true;
    return store.close();
  });
  revision.restore(await loadRevision(store));
  // What other relays did is counted by them.
  if (store.durability !== 'server') restoreCounters(metrics, store);
  const limits = await openLimiter({
    config,
    clock,
    store,
    onWaited: (seconds) => metrics.rateLimitWait.observe(seconds),
    ...toLimiterReport(log),
    serverTime: deps.serverTime,
  });
  started.add((overdue) => until(overdue, limits.close(), clock));
  const { limiter, shared } = limits;
  deps.signal?.throwIfAborted();
  // Before the store: what the store gives back when it closes must not be under way here any more.
  started.add(() => client.close());

  const watch = watchDeadLetters({
    store,
    maxCount: config.DEAD_LETTER_MAX_COUNT,
    overflow: config.DEAD_LETTER_OVERFLOW,
    clock,
    log,
    onFull: (reason) => engine.setDeadLettersFull(reason),
  });
  started.add(() => watch.close());
  const watched = watch.store;
  const engine: Engine = createEngine({
    ...deps,
    store: watched,
    destination: {
      send: (...request) => client.send(...request),
      pollImportJob: (ref, imported, permit) => client.pollImportJob(ref, imported, permit),
      listImportJobs: (refs, permit) => client.listImportJobs(refs, permit),
      merge: mergeProfiles,
    },
    limiter,
    bounds: toBounds(config),
    concurrency: config.DELIVERY_CONCURRENCY,
    policy: {
      baseMs: config.RETRY_BASE_MS,
      maxDelayMs: config.RETRY_MAX_DELAY_MS,
      maxAttempts: config.RETRY_MAX_ATTEMPTS,
      maxAgeMs: config.RETRY_MAX_AGE_MS,
    },
    metrics,
    onFatal: onFatal,
  });
  let isDelivering = false;
  let left = 0;
  const countUnsettled = (of: readonly StoreLane[]): number =>
    of.reduce((sum, lane) => sum + store.depth(lane).count, 0);
  started.add(async (overdue) => {
    if (isDelivering && store.durability === 'process') {
      engine.drain();
      await emptied(() => countUnsettled(lanes), clock, overdue);
    }
    await until(overdue, engine.stop(), clock);
    // A store that is closed cannot be asked any more.
    left = countUnsettled(storeLanes) - engine.importing();
  });

  let draining = false;
  const defaultCountry = config.DEFAULT_PHONE_COUNTRY;
  const threads = startThreads({
    count: config.WORKERS,
    clock,
    defaultCountry,
    onThreadFailure(error) {
      metrics.draftingThreadFailures.inc();
      log.error({ err: error }, 'a drafting thread ended by itself');
    },
    onGivenUp: () =>
      log.error('no drafting thread starts: the main thread drafts large requests, too'),
  });
  started.add(() => threads.close());
  const getFacts: Store['getFacts'] = (keys) => unlessAway(store.getFacts(keys));
  const activity = new SourceActivity({ clock, metrics });
  const acceptDeps = {
    ...deps,
    store: { ...watched, getFacts },
    metrics,
    defaultCountry,
    eventRules: () => toRules(revision.current),
    backfillAfterMs: config.BACKFILL_AFTER,
  };
  const waiting = createWaitingEntries({
    store: watched,
    // What fails here is tried again, and is no answer to a caller.
    accept: createAcceptFromSource({ ...acceptDeps, store: watched, activity }),
    clock,
    maxAgeMs: config.WAITING_MAX_AGE,
    checkEveryMs: toCheckIntervalMs(config.WAITING_MAX_AGE),
    metrics,
    log,
  });
  started.add((overdue) => until(overdue, waiting.stop(), clock));
  const acceptFromSource = createAcceptFromSource({
    ...acceptDeps,
    store: {
      append: (drafts) => acceptDeps.store.append(drafts),
      ...withoutUnchangedOrders(store),
    },
    activity,
    waitingBounds: toWaitingRoom(config, store),
    onFacts: (keys) => waiting.onFactsPut(keys),
    applyMapping: (post) => applyMapping(post, live.settings.MAPPING_FILE ?? {}),
  });
  const server = await createServer({
    config: live.settings,
    clock,
    metrics,
    logger: log,
    accept: createAccept({ ...acceptDeps, ...threads }),
    acceptFromSource,
    sources: createSourceRoutes(live.settings),
    views: toViews({
      store,
      metrics,
      activity,
      mend: createReingest({ deadLetters: store, accept: acceptFromSource }),
    }),
    readiness: () => toReadiness({ store, engine, limits, revision, draining }),
    backpressure: () => store.backpressure(),
    flush: (lane) => engine.flush(lane),
    pauseLane: (lane) => engine.pause(lane),
    resumeLane: (lane) => engine.resume(lane),
    isDraining: () => draining,
    countShared: shared === null ? undefined : toSharedCount(shared, deps),
  });
  started.add((overdue) => {
    draining = true;
    return until(overdue, server.close(), clock);
  });
  updateStateMetrics({ metrics, store, engine, limiter, revision });
  countDroppedLogLines(metrics, deps.droppedLogLines);
  metrics.deadLetterCapacity.set(config.DEAD_LETTER_MAX_COUNT);
  warnAtStart(config, store, { log, revision, now: clock.now() });
  deps.signal?.throwIfAborted();

  const url = await server.listen({ host: config.HOST, port: config.PORT });
  watch.start();
  await engine.start();
  waiting.start();
  isDelivering = true;
  log.info(
    {
      url,
      store: config.STORE,
      unsettled: countUnsettled(storeLanes),
      klaviyo: config.KLAVIYO_BASE_URL,
      // Without its credentials.
      ...(proxy !== null && { proxy: proxy.origin }),
      revision: revision.current,
    },
    'relay is listening',
  );

  const stop = async (): Promise<void> => {
    log.info('stopping');
    await stopWithin(config.SHUTDOWN_TIMEOUT_MS, started, clock);
    if (left > 0 && store.durability === 'process')
      log.error({ lost: left }, 'stopped; undelivered envelopes are lost with the memory store');
    else log.info({ kept: left }, 'stopped');
  };
  let stopped: Promise<void> | undefined;
  return { url, metrics, stop: () => (stopped ??= stop()), reload: (next) => live.reload(next) };
}

function toSharedCount({ connection, prefix }: NonNullable<OpenedLimiter['shared']>, deps: AppDeps) {
  const key = `${prefix}:quota`;
  return createSharedCount(connection, { key, windowMs: quotaWindowMs, time: deps.serverTime });
}

function toBounds(config: Config) {
  const maxBytes = (lane: 'events' | 'profiles'): number =>
    config.BATCH_MAX_BYTES - overheadBytes(lane) + 1;
  return {
    events: {
      maxCount: config.EVENT_BATCH_MAX_COUNT,
      maxBytes: maxBytes('events'),
      maxAgeMs: config.EVENT_FLUSH_INTERVAL_MS,
    },
    profiles: {
      maxCount: config.PROFILE_BATCH_MAX_COUNT,
      maxBytes: maxBytes('profiles'),
      maxAgeMs: config.PROFILE_FLUSH_INTERVAL_MS,
    },
  };
}

/** Payload bytes of what waits: all of it is in memory. */
const maxWaitingBytes = 64 * 1024 * 1024;

/** Absent where nothing waits. What waits has no more than a part of the buffer, so that it never fills it. */
function toWaitingRoom(config: Config, store: Store): WaitingBounds | undefined {
  if (config.WAITING_MAX_AGE === 0) return undefined;
  return new WaitingBounds({
    maxCount: Math.min(config.WAITING_MAX_COUNT, (config.MAX_BUFFER_COUNT ?? Infinity) / 2),
    maxBytes: Math.min(maxWaitingBytes, store.capacityBytes() / 4),
    depth: () => store.depth('waiting'),
  });
}

function warnAtStart(
  config: Config,
  store: Store,
  { log, revision, now }: { log: Logger; revision: CurrentRevision; now: number },
): void {
  const warning = revision.warning(now);
  if (warning !== null) log.warn(warning);
  if (store.durability === 'process') {
    log.warn(
      { store: config.STORE },
      'this store loses what it holds when the process ends unasked',
    );
  }
  if (config.RELAY_API_KEYS.length === 0) {
    log.warn('no RELAY_API_KEYS: anybody on this machine may post');
  }
  if (config.TRUST_PROXY === true) {
    log.warn(
      'TRUST_PROXY=true believes any X-Forwarded-For, so a caller can choose its address; set the number of your proxies, or their addresses',
    );
  }
}

/** Stops what was started. Gracefully for `limitMs`; what is not over then is cut off. */
async function stopWithin(limitMs: number, started: Releasers, clock: Clock): Promise<void> {
  const overdue = new AbortController();
  const deadline = clock.setTimer(limitMs, () => overdue.abort());
  try {
    await started.release(overdue.signal);
  } finally {
    deadline.cancel();
    // Ends what still waits for the deadline, so that the process can end.
    overdue.abort();
  }
}

function until(overdue: AbortSignal, work: Promise<unknown>, clock: Clock): Promise<unknown> {
  return Promise.race([work, wait(clock, Infinity, overdue)]);
}

/** Waits until everything is sent: what was buffered, retries that fall due and import jobs that end. */
async function emptied(
  countUnsettled: () => number,
  clock: Clock,
  overdue: AbortSignal,
): Promise<void> {
  const lookMs = 20;
  while (!overdue.aborted && countUnsettled() > 0) await wait(clock, lookMs, overdue);
}
