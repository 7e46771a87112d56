import type { Clock } from '../clock.js';
import { redactReason, redactText } from '../log/redact.js';
import type { Metrics } from '../metrics.js';
import type { Delivery, ImportJob, RequestedPause, Trigger } from '../model/delivery.js';
import type { DeliveryLogger, SendResult } from '../model/destination.js';
import type { Envelope } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Outcome, SplitMethod, Verdict } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';

/**
 * What remains of a request: its entry in the delivery log (`toDelivery`, `toEndedDelivery`), and its log
 * lines and metrics (`createRecorder`).
 */
export type RequestFacts = {
  readonly id: string;
  readonly lane: Lane;
  readonly trigger: Trigger;
  /** Epoch ms. */
  readonly at: number;
  /** Every envelope of the request, including those that are sent again. */
  readonly envelopes: readonly Envelope[];
  /** The pause of the lane after the request. */
  readonly pause: RequestedPause;
};

/** Pure: the entry of a request. */
export function toDelivery(
  facts: RequestFacts,
  sent: SendResult,
  settled: readonly SettledEnvelope[],
): Delivery {
  const count = countVerdicts(settled);
  const { importRef, isThrottled, reason } = summarise(sent.outcomes);
  return {
    id: facts.id,
    lane: facts.lane,
    trigger: facts.trigger,
    at: facts.at,
    durationMs: Math.round(sent.durationMs * 10) / 10,
    count: facts.envelopes.length,
    bytes: sent.bytes,
    status: sent.status,
    attempt: 1 + facts.envelopes.reduce((most, { attempts }) => Math.max(most, attempts), 0),
    result: toDeliveryResult(sent.outcomes),
    delivered: count.delivered,
    merged: count.merged,
    retried: count.retry,
    deadLettered: count['dead-letter'],
    ...(sent.backfilled > 0 && { backfilled: sent.backfilled }),
    reason,
    importJob:
      importRef === null
        ? null
        : { id: importRef, status: 'queued', completed: null, failed: null },
    // A pause that the relay chose itself, such as the wait between probes, begins anew with the process.
    ...(isThrottled && { pause: facts.pause }),
  };
}

/** The first import job and the first reason, without what it quotes of a record, and whether Klaviyo throttled the request. */
function summarise(outcomes: readonly Outcome[]) {
  let importRef: string | null = null;
  let reason: Delivery['reason'] = null;
  let isThrottled = false;
  for (const outcome of outcomes) {
    if (outcome.kind === 'pending') importRef ??= outcome.ref;
    else if (outcome.kind !== 'delivered') reason ??= redactReason(outcome.reason);
    if (outcome.kind === 'throttled') isThrottled = true;
  }
  return { importRef, reason, isThrottled };
}

function toDeliveryResult(outcomes: readonly Outcome[]): Delivery['result'] {
  const [first] = outcomes;
  if (outcomes.some(({ kind }) => kind !== first?.kind)) return 'partial';
  switch (first?.kind) {
    case 'delivered':
    case 'pending':
    case 'rejected':
    case 'blocked':
      return first.kind;
    case 'unattributed':
      return 'rejected';
    default:
      return 'retried';
  }
}

/** Pure: the entry of profiles that were acknowledged without a request. */
export function toUnchangedDelivery(
  { envelopes, ...facts }: Omit<RequestFacts, 'pause'>,
  settled: readonly SettledEnvelope[],
): Delivery {
  const count = countVerdicts(settled);
  return {
    ...facts,
    durationMs: 0,
    count: envelopes.length,
    bytes: 0,
    status: null,
    attempt: 1 + envelopes.reduce((most, { attempts }) => Math.max(most, attempts), 0),
    result: 'unchanged',
    delivered: count.delivered,
    merged: count.merged,
    retried: 0,
    deadLettered: 0,
    reason: null,
    importJob: null,
  };
}

/** Pure: the entry of a request after its import job has ended. */
export function toEndedDelivery(
  delivery: Delivery,
  job: ImportJob,
  settled: readonly SettledEnvelope[],
): Delivery {
  const count = countVerdicts(settled);
  const deadLetter = settled
    .map(({ verdict }) => verdict)
    .find((verdict) => verdict.kind === 'dead-letter');
  return {
    ...delivery,
    result: count.delivered + count.merged === settled.length ? 'delivered' : 'partial',
    delivered: delivery.delivered + count.delivered,
    merged: delivery.merged + count.merged,
    retried: delivery.retried + count.retry,
    deadLettered: delivery.deadLettered + count['dead-letter'],
    reason: deadLetter === undefined ? delivery.reason : redactReason(deadLetter.reason),
    importJob: job,
  };
}

export type VerdictCounts = Record<
  'delivered' | 'merged' | 'retry' | 'dead-letter' | 'poll',
  number
>;

export function countVerdicts(settled: readonly { readonly verdict: Verdict }[]): VerdictCounts {
  const counts: VerdictCounts = { delivered: 0, merged: 0, retry: 0, 'dead-letter': 0, poll: 0 };
  for (const { verdict } of settled) counts[verdict.kind === 'ack' ? verdict.as : verdict.kind]++;
  return counts;
}

/** The delivery half's metrics and log lines. */
export type Recorder = {
  /** One log line and the counters of one request. */
  recordDelivery(delivery: Delivery): void;
  /** The counters of what was settled, by a request or by the end of an import job. */
  recordSettled(lane: Lane, settled: readonly SettledEnvelope[]): void;
  recordSplit(lane: Lane, method: SplitMethod): void;
  recordImportEnd(delivery: Delivery): void;
  /** Profiles that were acknowledged without a request. */
  recordUnchanged(count: number): void;
};

export function createRecorder({
  clock,
  metrics,
  log,
}: {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: DeliveryLogger;
}): Recorder {
  return {
    recordDelivery(delivery) {
      const { lane, bytes, count, trigger } = delivery;
      const status =
        delivery.status === null ? (delivery.reason?.code ?? 'none') : String(delivery.status);
      metrics.flushes.inc({ lane, trigger });
      metrics.batchEnvelopes.observe({ lane }, count);
      metrics.batchBytes.observe({ lane }, bytes);
      metrics.klaviyoRequests.inc({ lane, status });
      metrics.klaviyoDuration.observe({ lane }, delivery.durationMs / 1000);
      const isFine = delivery.result === 'delivered' || delivery.result === 'pending';
      log[isFine ? 'info' : 'warn'](toLogFields(delivery), `delivery ${delivery.result}`);
    },
    recordSettled(lane, settled) {
      const { delivered, merged, 'dead-letter': deadLettered } = countVerdicts(settled);
      metrics.settled.inc({ lane, outcome: 'delivered' }, delivered);
      metrics.settled.inc({ lane, outcome: 'merged' }, merged);
      metrics.settled.inc({ lane, outcome: 'dead_lettered' }, deadLettered);
      const now = clock.now();
      const latency = metrics.deliveryLatency.labels({ lane });
      let isLogged = false;
      for (const { envelope, verdict } of settled) {
        if (verdict.kind === 'retry') metrics.retries.inc({ lane, reason: verdict.reason.code });
        if (verdict.kind === 'ack') {
          latency.observe(Math.max(0, now - envelope.acceptedAt) / 1000);
        }
        if (verdict.kind !== 'dead-letter' || isLogged) continue;
        isLogged = true;
        const { code, detail } = verdict.reason;
        const count = deadLettered === 1 ? 'an envelope' : `${deadLettered} envelopes`;
        const fields = { lane, count: deadLettered, reason: code };
        log.warn(fields, `gave up on ${count}: ${redactText(detail)}`);
      }
    },
    recordUnchanged(count) {
      metrics.profilesUnchanged.inc(count);
    },
    recordSplit(lane, method) {
      metrics.splits.inc({ lane, method });
    },
    recordImportEnd(delivery) {
      const isRead = !['unreadable', 'expired'].includes(delivery.importJob?.status ?? '');
      const isFine = delivery.deadLettered === 0 && isRead;
      log[isFine ? 'info' : 'warn'](toLogFields(delivery), 'import job ended');
    },
  };
}

/**
 * Only numbers and codes. Klaviyo's texts may quote an address, so they stay in the delivery log and in the
 * dead letter.
 */
function toLogFields(delivery: Delivery): object {
  const { reason, importJob, deadLettered, ...rest } = delivery;
  return {
    delivery: rest.id,
    lane: rest.lane,
    trigger: rest.trigger,
    count: rest.count,
    bytes: rest.bytes,
    status: rest.status,
    attempt: rest.attempt,
    durationMs: rest.durationMs,
    delivered: rest.delivered,
    ...(rest.merged > 0 && { merged: rest.merged }),
    ...(rest.retried > 0 && { retried: rest.retried }),
    ...(deadLettered > 0 && { deadLettered }),
    ...(rest.backfilled !== undefined && { backfilled: rest.backfilled }),
    ...(reason !== null && { reason: reason.code }),
    ...(importJob !== null && { importJob: importJob.id, importStatus: importJob.status }),
  };
}
