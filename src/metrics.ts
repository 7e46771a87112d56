import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { lanes, storeLanes, type StoreLane } from './model/lane.js';

/**
 * All metrics of the relay. Labels have few and bounded values, and never an id or an address. Gauges of
 * state, such as the buffer and the limiter, are set by callbacks (`onScrape`) at each scrape.
 */
export type Metrics = ReturnType<typeof createMetrics>;

const ingestOutcomes = ['accepted', 'duplicate', 'invalid', 'refused'];
const settledOutcomes = ['delivered', 'merged', 'dead_lettered', 'erased'];

/**
 * The outcomes with which an envelope is settled. A waiting entry is `resolved` if it continues in its own lane
 * as an event, a profile or a dead letter.
 */
export const toSettledOutcomes = (lane: StoreLane): readonly string[] =>
  lane === 'waiting' ? ['resolved', 'erased'] : settledOutcomes;

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const latencyBuckets = [
  0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400,
];
const countBuckets = [1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const byteBuckets = [1e3, 1e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6];

export function createMetrics(version: string) {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name: `relay_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge({ name: `relay_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(
    buckets: number[],
    ...[name, help, labelNames]: [string, string, readonly L[]]
  ) =>
    new Histogram({ name: `relay_${name}`, help, labelNames: [...labelNames], buckets, registers });

  /** Callbacks that update the gauges of state, such as the buffer's depth, at each scrape. */
  const refreshers: (() => void)[] = [];
  // Registered first: prom-client reads metrics in this order within one tick, so a scrape is consistent.
  new Gauge({
    name: 'relay_build_info',
    help: 'Version of the relay and of Node.js',
    labelNames: ['version', 'node'],
    registers,
    collect() {
      for (const refresh of refreshers) refresh();
      this.set({ version, node: process.version }, 1);
    },
  });
  collectDefaultMetrics({ register: registry });

  const metrics = {
    registry,
    onScrape: (refresh: () => void) => void refreshers.push(refresh),
    httpRequests: counter('http_requests_total', 'HTTP requests by response', [
      'route',
      'method',
      'status',
    ]),
    httpDuration: histogram(
      secondsBuckets,
      'http_request_duration_seconds',
      'Time from the request to the response',
      ['route'],
    ),
    authFailures: counter('auth_failures_total', 'Requests without a valid key or signature', [
      'route',
    ]),
    draftingThreadFailures: counter(
      'drafting_thread_failures_total',
      'Drafting threads (WORKERS) that ended unexpectedly or did not start',
      [],
    ),
    ingest: counter(
      'ingest_total',
      'Posted entries by outcome; `refused` counts those of requests that got a 503',
      ['lane', 'outcome'],
    ),
    ingestBackfilled: counter(
      'ingest_backfilled_total',
      'Accepted events that are sent with `backfill: true`, so that they trigger no flow',
      [],
    ),
    ingestWarnings: counter(
      'ingest_warnings_total',
      'Fields that were changed when an entry was accepted, such as a phone number that could not be normalised',
      ['lane', 'warning'],
    ),
    sourceSkipped: counter(
      'source_skipped_total',
      'Parts of requests from sources that were skipped, changed or unreadable; GET /v1/sources shows examples',
      ['source', 'reason'],
    ),
    bufferEnvelopes: gauge(
      'buffer_envelopes',
      'Envelopes that are not settled yet, in flight included; `lane="waiting"`: entries of sources that wait until the person they name is identified',
      ['lane'],
    ),
    bufferBytes: gauge('buffer_bytes', 'Payload bytes of envelopes that are not settled yet', [
      'lane',
    ]),
    bufferCapacityBytes: gauge('buffer_capacity_bytes', 'Payload bytes the buffer may hold', []),
    bufferOldestAge: gauge('buffer_oldest_age_seconds', 'Age of the oldest unsettled envelope', [
      'lane',
    ]),
    settled: counter('settled_total', 'Envelopes settled', ['lane', 'outcome']),
    profilesUnchanged: counter(
      'profiles_unchanged_total',
      'Profiles that were acknowledged without a request, because they are equal to what was delivered last (PROFILE_UNCHANGED_TTL)',
      [],
    ),
    redriven: counter('redriven_total', 'Dead letters put back into the buffer', ['lane']),
    flushes: counter('flushes_total', 'Batches by what closed them: count, bytes, age or drain', [
      'lane',
      'trigger',
    ]),
    batchEnvelopes: histogram(
      countBuckets,
      'batch_envelopes',
      'Envelopes in a request to Klaviyo',
      ['lane'],
    ),
    batchBytes: histogram(byteBuckets, 'batch_bytes', 'Bytes of a request body to Klaviyo', [
      'lane',
    ]),
    klaviyoRequests: counter(
      'klaviyo_requests_total',
      'Requests to Klaviyo by status of the response',
      ['lane', 'status'],
    ),
    klaviyoDuration: histogram(
      secondsBuckets,
      'klaviyo_request_duration_seconds',
      'Time from a request to Klaviyo to its response',
      ['lane'],
    ),
    retries: counter('retries_total', 'Envelopes that returned to the store for another attempt', [
      'lane',
      'reason',
    ]),
    splits: counter('batch_splits_total', 'Failed batches that were sent again in parts', [
      'lane',
      'method',
    ]),
    deliveryLatency: histogram(
      latencyBuckets,
      'delivery_latency_seconds',
      'Time from acceptance to delivery',
      ['lane'],
    ),
    rateLimitTokens: gauge(
      'rate_limit_tokens',
      'Tokens left in the bucket that all lanes share',
      [],
    ),
    rateLimitWait: histogram(
      secondsBuckets,
      'rate_limit_wait_seconds',
      'Time a batch waited for the limiter',
      [],
    ),
    paused: gauge('klaviyo_paused', '1 while a lane is paused, by Klaviyo or by hand', [
      'lane',
      'reason',
    ]),
    klaviyoRevision: gauge(
      'klaviyo_revision',
      "1 for the revision of Klaviyo's API that requests use",
      ['revision'],
    ),
    importJobsOpen: gauge('import_jobs_open', 'Import jobs at Klaviyo that have not ended', []),
    importJobsOldestAge: gauge(
      'import_jobs_oldest_age_seconds',
      'Age of the oldest open import job, as measured by relays; 0 if none is open',
      [],
    ),
    deadLetters: gauge('dead_letters', 'Dead letters that wait for a redrive or a discard', [
      'lane',
    ]),
    deadLetterCapacity: gauge(
      'dead_letters_capacity',
      'Dead letters at which DEAD_LETTER_OVERFLOW applies: delivery pauses, or the oldest is dropped',
      [],
    ),
    deadLettersDropped: counter(
      'dead_letters_dropped_total',
      'Dead letters that were dropped at the bound with DEAD_LETTER_OVERFLOW=drop-oldest',
      ['lane'],
    ),
    storeSync: histogram(
      secondsBuckets,
      'store_sync_duration_seconds',
      'Time of one write of accepted envelopes, with its sync',
      [],
    ),
    storeAccepted: gauge(
      'store_accepted',
      'Envelopes accepted by all relays that share the store, since it began',
      ['lane'],
    ),
    storeSettled: gauge(
      'store_settled',
      'Envelopes settled by all relays that share the store, since it began',
      ['lane', 'outcome'],
    ),
    logLinesDropped: counter(
      'log_lines_dropped_total',
      'Log lines that were dropped because the log could not be written, or its reader did not read',
      [],
    ),
    storeLeaseLeft: gauge(
      'store_lease_left_seconds',
      'With STORE=redis: time until other relays take over the envelopes of this one if it does not renew its lease; normally just below REDIS_LEASE_MS',
      [],
    ),
    storeDurable: gauge(
      'store_durable',
      '1 while an accepted event survives a crash, and a failover of Redis',
      [],
    ),
  };
  // Known label values start at zero, so that rates and alerts work from the first scrape on.
  metrics.ingest.inc({ lane: 'waiting', outcome: 'accepted' }, 0);
  for (const lane of storeLanes) {
    for (const outcome of toSettledOutcomes(lane)) metrics.settled.inc({ lane, outcome }, 0);
  }
  for (const lane of lanes) {
    for (const outcome of ingestOutcomes) metrics.ingest.inc({ lane, outcome }, 0);
    metrics.redriven.inc({ lane }, 0);
    metrics.deadLettersDropped.inc({ lane }, 0);
  }
  return metrics;
}
