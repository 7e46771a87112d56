import type { Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createEngine, type Engine } from '../delivery/engine.js';
import { getLaneApi } from '../klaviyo/lanes/list.js';
import { selectLaneSettings } from '../config/lane-settings.js';
import type { Logger } from '../log/logger.js';
import type { Metrics } from '../metrics.js';
import type { DeliveryStore, Destination } from '../model/destination.js';
import { lanes, mapLanes, storeLanes, type StoreLane } from '../model/lane.js';
import type { Limiter } from '../model/limiter.js';
import type { Store } from '../model/store.js';
import { findRevoked } from '../ingest/consent.js';
import { until, untilDrained } from './lifecycle.js';

export type DeliveryHalf = {
  readonly engine: Engine;
  start(): Promise<void>;
  /**
   * Stops claiming and waits for the requests in flight. With the memory store it first sends all that
   * is buffered, since nothing of it survives the process. Returns early when `overdue` aborts.
   */
  stop(overdue: AbortSignal): Promise<void>;
  /** Envelopes that were unsettled when the half stopped. */
  leftAtStop(): number;
};

export type DeliveryHalfDeps = {
  readonly config: Config;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** For claims and settlements. */
  readonly deliveryStore: DeliveryStore & Pick<Store, 'claimable' | 'onClaimable' | 'getFacts'>;
  /** For counts, and to choose how to stop. */
  readonly store: Pick<Store, 'durability' | 'depth'>;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly onFatal: (error: unknown) => void;
};

/** Delivers what the store holds to Klaviyo: one loop for each lane over one limiter. */
export function createDeliveryHalf(deps: DeliveryHalfDeps): DeliveryHalf {
  const { config, clock, store } = deps;
  const engine = createEngine({
    store: deps.deliveryStore,
    destination: deps.destination,
    limiter: deps.limiter,
    bounds: toBatchBounds(config),
    concurrency: config.DELIVERY_CONCURRENCY,
    policy: {
      baseMs: config.RETRY_BASE_MS,
      maxDelayMs: config.RETRY_MAX_DELAY_MS,
      maxAttempts: config.RETRY_MAX_ATTEMPTS,
      maxAgeMs: config.RETRY_MAX_AGE_MS,
    },
    clock,
    random: deps.random,
    metrics: deps.metrics,
    log: deps.log,
    findOutdated: async (lane, envelopes) =>
      lane === 'subscribe'
        ? findRevoked(envelopes, (keys) => deps.deliveryStore.getFacts(keys))
        : new Map(),
    onFatal: deps.onFatal,
  });
  let isStarted = false;
  let left = 0;
  return {
    engine,
    async start() {
      await engine.start();
      isStarted = true;
    },
    async stop(overdue) {
      if (isStarted && store.durability === 'process') {
        engine.drain();
        await untilDrained(() => countUnsettled(store, lanes), clock, overdue);
      }
      await until(overdue, engine.stop(), clock);
      // Counted here, because the store is closed next.
      left = countUnsettled(store) - engine.importing();
    },
    leftAtStop: () => left,
  };
}

export function countUnsettled(
  store: Pick<Store, 'depth'>,
  counted: readonly StoreLane[] = storeLanes,
): number {
  return counted.reduce((sum, lane) => sum + store.depth(lane).count, 0);
}

const toBatchBounds = (config: Config) =>
  mapLanes((lane) => {
    const { maxCount, maxAgeMs } = selectLaneSettings(config, lane);
    const maxBytes = config.BATCH_MAX_BYTES - getLaneApi(lane).body.overheadBytes + 1;
    return { maxCount, maxBytes, maxAgeMs };
  });
