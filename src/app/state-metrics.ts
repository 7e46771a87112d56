import type { Engine } from '../delivery/engine.js';
import type { Metrics } from '../metrics.js';
import { isLane, storeLanes, type StoreLane } from '../model/lane.js';
import type { Limiter } from '../model/limiter.js';
import type { Store } from '../model/store.js';

export type ObservedParts = {
  readonly store: Store;
  readonly engine: Engine;
  readonly limiter: Limiter;
  /** The revision of Klaviyo's API. `explain` says which one is used, why, and until when. */
  readonly revision: { readonly current: string; explain(): string };
};

/** Updates the gauges that show the state of the parts, at each scrape. */
export function updateStateMetrics({
  metrics,
  store,
  engine,
  limiter,
  revision,
}: ObservedParts & { metrics: Metrics }): void {
  metrics.bufferCapacityBytes.set(store.capacityBytes());
  // A gauge without labels starts at 0, which would mean that the lease has ended.
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
      if (store.durability === 'server') updateStoreTotals(lane, metrics, store);
      if (!isLane(lane)) continue;
      metrics.deadLetters.set({ lane }, deadLetters);
      for (const { reason } of pauses[lane]) metrics.paused.set({ lane, reason: reason.code }, 1);
    }
  });
}

/** Shows the counts of all relays that share the store. Each relay's own counters have only its own work. */
function updateStoreTotals(
  lane: StoreLane,
  metrics: Metrics,
  store: Pick<Store, 'laneTotals'>,
): void {
  const { accepted, settled } = toStoreTotals(lane, store);
  metrics.storeAccepted.set({ lane }, accepted);
  for (const [outcome, count] of settled) metrics.storeSettled.set({ lane, outcome }, count);
}

type StoreTotals = {
  readonly accepted: number;
  readonly settled: readonly (readonly [outcome: string, count: number])[];
};

/** The totals of a lane, by the outcomes that the metrics have. */
function toStoreTotals(lane: StoreLane, store: Pick<Store, 'laneTotals'>): StoreTotals {
  const { accepted, delivered, merged, deadLettered, erased } = store.laneTotals(lane);
  if (lane === 'waiting') {
    return {
      accepted,
      settled: [
        ['resolved', delivered],
        ['erased', erased],
      ],
    };
  }
  return {
    accepted,
    settled: [
      ['delivered', delivered],
      ['merged', merged],
      ['dead_lettered', deadLettered],
      ['erased', erased],
    ],
  };
}

/** Updates the counter of dropped log lines at each scrape. */
export function countDroppedLogLines(metrics: Metrics, droppedLogLines: () => number): void {
  let counted = 0;
  metrics.onScrape(() => {
    const dropped = droppedLogLines();
    metrics.logLinesDropped.inc(dropped - counted);
    counted = dropped;
  });
}

/**
 * Continues the counters where the process before ended, so that accepted = settled + buffered also
 * holds after a restart.
 */
export function restoreCounters(metrics: Metrics, store: Pick<Store, 'laneTotals'>): void {
  for (const lane of storeLanes) {
    const { accepted, settled } = toStoreTotals(lane, store);
    metrics.ingest.inc({ lane, outcome: 'accepted' }, accepted);
    for (const [outcome, count] of settled) metrics.settled.inc({ lane, outcome }, count);
  }
}
