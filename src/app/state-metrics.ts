import type { Engine } from '../delivery/engine.js';
import type { Metrics } from '../metrics.js';
import { isLane, storeLanes, type StoreLane } from '../model/lane.js';
import type { Limiter } from '../model/limiter.js';
import type { Store } from '../model/store.js';

export type ObservedParts = {
  readonly store: Store;
  readonly engine: Engine;
  readonly limiter: Limiter;
  /** Of Klaviyo's API. `explain`: which one, why, and until when. */
  readonly revision: { readonly current: string; explain(): string };
};

/** Brings the gauges that mirror state up to date at each scrape. */
export function updateStateMetrics({
  metrics,
  store,
  engine,
  limiter,
  revision,
}: ObservedParts & { metrics: Metrics }): void {
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
function mirrorBooks(lane: StoreLane, metrics: Metrics, store: Pick<Store, 'laneTotals'>): void {
  const { accepted, settled } = toBooks(lane, store);
  metrics.storeAccepted.set({ lane }, accepted);
  for (const [outcome, count] of settled) metrics.storeSettled.set({ lane, outcome }, count);
}

type StoreBooks = {
  readonly accepted: number;
  readonly settled: readonly (readonly [outcome: string, count: number])[];
};

/** What a store counted, by the outcomes of the metrics. */
function toBooks(lane: StoreLane, store: Pick<Store, 'laneTotals'>): StoreBooks {
  const { accepted, delivered, merged, deadLettered } = store.laneTotals(lane);
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

export function countDroppedLogLines(metrics: Metrics, droppedLogLines: () => number): void {
  let counted = 0;
  metrics.onScrape(() => {
    const dropped = droppedLogLines();
    metrics.logLinesDropped.inc(dropped - counted);
    counted = dropped;
  });
}

/** Counters go on where the process before ended, so that the books balance over a restart, too. */
export function restoreCounters(metrics: Metrics, store: Pick<Store, 'laneTotals'>): void {
  for (const lane of storeLanes) {
    const { accepted, settled } = toBooks(lane, store);
    metrics.ingest.inc({ lane, outcome: 'accepted' }, accepted);
    for (const [outcome, count] of settled) metrics.settled.inc({ lane, outcome }, count);
  }
}
