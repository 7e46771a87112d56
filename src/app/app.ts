/**
 * The composition root: every part is created here and receives what it needs by name.
 *
 *   accept half:   HTTP server → sources, ingest → store.append
 *   delivery half: store.claim → engine → limiter → Klaviyo client → store.settle
 *
 * Parts start in the order of their dependencies, and stop in the reverse order: first the server, so
 * that nothing new is accepted, then delivery, the limiter, the client, and last the store.
 */
import type { Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { quotaWindowMs } from '../http/plugins/rate-limit.js';
import { createServer } from '../http/server.js';
import { createReingest } from '../ingest/reingest.js';
import type { KlaviyoClient } from '../klaviyo/client.js';
import { loadRevision, type CurrentRevision } from '../klaviyo/revision.js';
import type { Logger } from '../log/logger.js';
import { createMetrics, type Metrics } from '../metrics.js';
import type { Store } from '../model/store.js';
import { createSharedCount } from '../redis/quota.js';
import { createSourceRoutes } from '../http/routes/sources/source-routes.js';
import { openStore } from '../store/open.js';
import { startAcceptHalf, type AcceptHalf } from './accept-half.js';
import { boundDeadLetters } from './dead-letter-bound.js';
import { countUnsettled, createDeliveryHalf, type DeliveryHalf } from './delivery-half.js';
import { createKlaviyo } from './klaviyo.js';
import { stopWithin, until } from './lifecycle.js';
import { createLiveSettings, type LiveSettings, type Reloaded } from './live-settings.js';
import { openLimiter, type OpenedLimiter } from './open-limiter.js';
import { toDiskReport, toLimiterReport, toServerReport } from './operator-log.js';
import { createOperatorViews } from './operator-views.js';
import { createPrivacyViews } from './privacy-views.js';
import { toReadiness } from './readiness.js';
import { Releasers } from './releasers.js';
import { countDroppedLogLines, restoreCounters, updateStateMetrics } from './state-metrics.js';

export type AppDeps = {
  readonly config: Config;
  readonly clock: Clock;
  /** Returns a number in [0, 1). */
  readonly random: () => number;
  /** Returns a new unique_id. */
  readonly newId: () => string;
  readonly log: Logger;
  /** Log lines dropped so far. */
  readonly droppedLogLines: () => number;
  readonly version: string;
  /** Tests replace the clock of the Redis server with this one, in ms. */
  readonly serverTime?: () => number;
  /** Called for an error after which the relay cannot go on, such as a failed store. The caller ends the process. */
  readonly onFatal: (error: unknown) => void;
  /** Aborts the start at its next step; `startApp` then rejects. */
  readonly signal?: AbortSignal;
};

/** Time for parts to stop after a failed start, ms. Nothing was accepted that would have to be sent. */
const failedStartLimitMs = 1000;

/** A relay that listens. */
export type App = {
  readonly url: string;
  readonly metrics: Metrics;
  /** Stops every part, gracefully for SHUTDOWN_TIMEOUT_MS. Idempotent. */
  stop(): Promise<void>;
  /** Takes over keys, secrets and the mapping file of these settings. The other settings stay as they are. */
  reload(next: Config): Reloaded;
};

/** Starts a relay. Rejects if a part cannot be started; the parts before it are stopped then. */
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

/** Creates and starts every part. Each registers in `started` how it is stopped. */
async function startParts(deps: AppDeps, started: Releasers): Promise<App> {
  const { config, clock, log, signal } = deps;
  const live = createLiveSettings(config);
  const metrics = createMetrics(deps.version);
  const { client, revision, proxyOrigin } = createKlaviyo({
    config,
    apiKey: () => live.settings.KLAVIYO_API_KEY,
    clock,
    log,
    version: deps.version,
    store: () => store,
  });
  started.add(() => client.close());
  const { store, onFatal } = await startStore(deps, { metrics, client, started });
  revision.restore(await loadRevision(store));
  // Each relay counts only its own work, and a shared store has counts of all relays.
  if (store.durability !== 'server') restoreCounters(metrics, store);
  const limiter = await startLimiter(deps, { metrics, store, started });
  signal?.throwIfAborted();
  // Closed before the store, which returns claimed envelopes to the buffer: none may be in flight then.
  started.add(() => client.close());

  const bound = boundDeadLetters({
    store,
    maxCount: config.DEAD_LETTER_MAX_COUNT,
    overflow: config.DEAD_LETTER_OVERFLOW,
    clock,
    log,
    onFull: (reason) => delivery.engine.setDeadLettersFull(reason),
  });
  started.add(() => bound.close());
  const delivery = createDeliveryHalf({
    config,
    clock,
    random: deps.random,
    log,
    metrics,
    deliveryStore: bound.store,
    store,
    destination: client,
    limiter: limiter.limiter,
    onErased: (ids) => intake.onErased(ids),
    onFatal,
  });
  started.add((overdue) => delivery.stop(overdue));
  const intake: AcceptHalf = startAcceptHalf({
    settings: live.settings,
    clock,
    newId: deps.newId,
    log,
    metrics,
    store: bound.store,
    revision,
  });
  started.add(() => intake.threads.close());
  started.add((overdue) => until(overdue, intake.waiting.stop(), clock));
  const parts = { live, metrics, store, intake, delivery, limiter, revision, started };
  const server = await startServer(deps, parts);

  updateStateMetrics({
    metrics,
    store,
    engine: delivery.engine,
    limiter: limiter.limiter,
    revision,
  });
  countDroppedLogLines(metrics, deps.droppedLogLines);
  metrics.deadLetterCapacity.set(config.DEAD_LETTER_MAX_COUNT);
  warnAtStart({ config, store, log, revisionWarning: revision.warning(clock.now()) });
  signal?.throwIfAborted();

  const url = await server.listen({ host: config.HOST, port: config.PORT });
  bound.start();
  await delivery.start();
  intake.waiting.start();
  log.info(
    {
      url,
      store: config.STORE,
      unsettled: countUnsettled(store),
      klaviyo: config.KLAVIYO_BASE_URL,
      ...(proxyOrigin !== null && { proxy: proxyOrigin }),
      revision: revision.current,
    },
    'relay is listening',
  );

  const stop = async (): Promise<void> => {
    log.info('stopping');
    await stopWithin(config.SHUTDOWN_TIMEOUT_MS, started, clock);
    const left = delivery.leftAtStop();
    if (left > 0 && store.durability === 'process')
      log.error({ lost: left }, 'stopped; undelivered envelopes are lost with the memory store');
    else log.info({ kept: left }, 'stopped');
  };
  let stopped: Promise<void> | undefined;
  return { url, metrics, stop: () => (stopped ??= stop()), reload: (next) => live.reload(next) };
}

type StoreParts = {
  readonly metrics: Metrics;
  readonly client: Pick<KlaviyoClient, 'probeAccount'>;
  readonly started: Releasers;
};

/** Opens the store. `onFatal` ignores errors of requests that outlive the store: a closed store fails them. */
async function startStore(
  { config, clock, random, log, serverTime, onFatal }: AppDeps,
  { metrics, client, started }: StoreParts,
): Promise<{ readonly store: Store; readonly onFatal: (error: unknown) => void }> {
  let isClosed = false;
  const onFatalWhileOpen = (error: unknown): void => {
    if (!isClosed) onFatal(error);
  };
  const store = await openStore(config, {
    clock,
    random,
    onFatal: onFatalWhileOpen,
    onDeadLetterDropped({ id, lane }) {
      metrics.deadLettersDropped.inc({ lane });
      log.error({ id, lane }, 'a dead letter was dropped at the bound: it is lost');
    },
    onSynced: (seconds) => metrics.storeSync.observe(seconds),
    onDiskSpace: toDiskReport(log),
    onExposedFile: (path) =>
      log.warn(
        { path },
        'other users can read this file of the journal, and its mode cannot be changed',
      ),
    time: serverTime,
    account: () => client.probeAccount(),
    ...toServerReport(log),
  });
  started.add(() => {
    isClosed = true;
    return store.close();
  });
  return { store, onFatal: onFatalWhileOpen };
}

type LimiterParts = {
  readonly metrics: Metrics;
  readonly store: Store;
  readonly started: Releasers;
};

async function startLimiter(
  { config, clock, log, serverTime }: AppDeps,
  { metrics, store, started }: LimiterParts,
): Promise<OpenedLimiter> {
  const limiter = await openLimiter({
    config,
    clock,
    store,
    onWaited: (seconds) => metrics.rateLimitWait.observe(seconds),
    ...toLimiterReport(log),
    serverTime,
  });
  started.add((overdue) => until(overdue, limiter.close(), clock));
  return limiter;
}

type ServerParts = {
  readonly live: LiveSettings;
  readonly metrics: Metrics;
  readonly store: Store;
  readonly intake: AcceptHalf;
  readonly delivery: DeliveryHalf;
  readonly limiter: OpenedLimiter;
  readonly revision: CurrentRevision;
  readonly started: Releasers;
};

/** Creates the HTTP server. Once its stop begins, the relay is not ready and accepts nothing. */
async function startServer(
  { clock, log, serverTime }: AppDeps,
  { live, metrics, store, intake, delivery, limiter, revision, started }: ServerParts,
) {
  const { engine } = delivery;
  const { accept, acceptFromSource, activity } = intake;
  let draining = false;
  const server = await createServer({
    config: live.settings,
    clock,
    metrics,
    logger: log,
    accept,
    acceptFromSource,
    sources: createSourceRoutes(live.settings),
    views: {
      ...createOperatorViews({
        store,
        metrics,
        activity,
        reingest: createReingest({ deadLetters: store, accept: acceptFromSource }),
      }),
      ...createPrivacyViews({ store, defaultCountry: live.settings.DEFAULT_PHONE_COUNTRY }),
    },
    readiness: () => toReadiness({ store, engine, limits: limiter, revision, draining }),
    backpressure: () => store.backpressure(),
    flush: (lane) => engine.flush(lane),
    pauseLane: (lane) => engine.pause(lane),
    resumeLane: (lane) => engine.resume(lane),
    isDraining: () => draining,
    countShared: createQuotaCount(limiter.shared, serverTime),
  });
  started.add((overdue) => {
    draining = true;
    return until(overdue, server.close(), clock);
  });
  return server;
}

/** Counts requests of callers over all relays that share a limiter. Undefined if none is shared. */
function createQuotaCount(shared: OpenedLimiter['shared'], serverTime: AppDeps['serverTime']) {
  if (shared === null) return undefined;
  return createSharedCount(shared.connection, {
    key: `${shared.prefix}:quota`,
    windowMs: quotaWindowMs,
    time: serverTime,
  });
}

type StartWarnings = {
  readonly config: Config;
  readonly store: Pick<Store, 'durability'>;
  readonly log: Logger;
  readonly revisionWarning: string | null;
};

function warnAtStart({ config, store, log, revisionWarning }: StartWarnings): void {
  if (revisionWarning !== null) log.warn(revisionWarning);
  if (store.durability === 'process') {
    log.warn({ store: config.STORE }, 'this store loses what it holds when the process crashes');
  }
  if (config.RELAY_API_KEYS.length === 0) {
    log.warn('no RELAY_API_KEYS: anybody on this machine may post');
  }
  if (config.TRUST_PROXY === true) {
    log.warn(
      'TRUST_PROXY=true trusts any X-Forwarded-For, so a caller can choose its address; set the number of your proxies, or their addresses',
    );
  }
}
