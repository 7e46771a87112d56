import type { Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createEngine, type Engine } from '../delivery/engine.js';
import { getLaneApi } from '../klaviyo/lanes/list.js';
import { selectLaneSettings } from '../config/lane-settings.js';
import type { Logger } from '../log/logger.js';
import type { Metrics } from '../metrics.js';
import type { DeliveryStore, Destination } from '../model/destination.js';
import type { Envelope } from '../model/envelope.js';
import { lanes, mapLanes, storeLanes, type Lane, type StoreLane } from '../model/lane.js';
import type { Limiter } from '../model/limiter.js';
import type { Store } from '../model/store.js';
import type { Verdict } from '../model/outcome.js';
import { findRevoked } from '../ingest/consent.js';
import { erasePerson, type EraserDeps } from '../ingest/erasure.js';
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
  /** For counts, to choose how to stop, and for erasures. */
  readonly store: Pick<Store, 'durability' | 'depth'> & EraserDeps['store'];
  readonly destination: Destination;
  readonly limiter: Limiter;
  /** Called with the ids of envelopes that an erasure removed. */
  readonly onErased: EraserDeps['onErased'];
  readonly onFatal: (error: unknown) => void;
};

/** Time after which an erasure is tried again that waits for envelopes in flight. */
const eraseAgainMs = 1000;

type Verdicts = ReadonlyMap<string, Verdict>;

/** Returns the verdicts of the envelopes that must not be sent now, by their ids. */
async function reviewEnvelopes(
  lane: Lane,
  envelopes: readonly Envelope[],
  deps: DeliveryHalfDeps,
): Promise<Verdicts> {
  if (lane === 'subscribe') return rejectRevoked(envelopes, deps);
  if (lane === 'erase') return eraseOrDelay(envelopes, deps);
  return new Map();
}

async function rejectRevoked(
  envelopes: readonly Envelope[],
  { deliveryStore }: DeliveryHalfDeps,
): Promise<Verdicts> {
  const revoked = await findRevoked(envelopes, (keys) => deliveryStore.getFacts(keys));
  return new Map([...revoked].map(([id, reason]) => [id, { kind: 'dead-letter', reason }]));
}

/** Removes what the relay holds of each person, and delays the erasures that wait for envelopes in flight. */
async function eraseOrDelay(
  envelopes: readonly Envelope[],
  { store, clock, metrics, onErased }: DeliveryHalfDeps,
): Promise<Verdicts> {
  const delayed = new Map<string, Verdict>();
  for (const envelope of envelopes) {
    const left = await erasePerson(envelope, { store, clock, metrics, onErased });
    if (left === 0) continue;
    const reason = {
      code: 'waits_for_requests',
      detail: `${left} envelopes of the person are in flight and must end first`,
    };
    const verdict: Verdict = { kind: 'retry', afterMs: eraseAgainMs, reason, countAttempt: false };
    delayed.set(envelope.id, verdict);
  }
  return delayed;
}

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
    review: (lane, envelopes) => reviewEnvelopes(lane, envelopes, deps),
    unchanged:
      config.PROFILE_UNCHANGED_TTL === 0
        ? undefined
        : { ttlMs: config.PROFILE_UNCHANGED_TTL, maxCount: config.MEMO_MAX_COUNT },
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
