import type { Clock } from '../clock.js';
import type { Delivery } from '../model/delivery.js';
import type { Lane } from '../model/lane.js';
import type { SettledEnvelope } from '../model/store.js';
import type { SplitMethod } from '../model/outcome.js';
import type { Metrics } from '../metrics.js';
import { redactText } from '../log/redact.js';
import type { DeliveryLogger } from '../model/destination.js';
import { countVerdicts } from './settle.js';

export type Recorder = {
  /** One log line and the counters of one request. */
  recordDelivery(delivery: Delivery): void;
  /** The counters of what was settled, by a request or by the end of an import job. */
  recordSettled(lane: Lane, settled: readonly SettledEnvelope[]): void;
  recordSplit(lane: Lane, method: SplitMethod): void;
  recordImportEnd(delivery: Delivery): void;
};

/** What happened, told to the operator: the delivery half's metrics and log lines, in one place. */
export function createRecorder(deps: {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: DeliveryLogger;
}): Recorder {
  const { clock, metrics, log } = deps;
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
      const given = settled.find(({ verdict }) => verdict.kind === 'dead-letter')?.verdict;
      if (given?.kind === 'dead-letter') {
        const { code, detail } = given.reason;
        const count = deadLettered === 1 ? 'an envelope' : `${deadLettered} envelopes`;
        log.warn(
          { lane, count: deadLettered, reason: code },
          `gave up on ${count}: ${redactText(detail)}`,
        );
      }
      const now = clock.now();
      const latency = metrics.deliveryLatency.labels({ lane });
      for (const { envelope, verdict } of settled) {
        if (verdict.kind === 'retry') metrics.retries.inc({ lane, reason: verdict.reason.code });
        if (verdict.kind === 'ack') {
          latency.observe(Math.max(0, now - envelope.acceptedAt) / 1000);
        }
      }
    },
    recordSplit: (lane, method) => metrics.splits.inc({ lane, method }),
    recordImportEnd(delivery) {
      const isRead = !['unreadable', 'expired'].includes(delivery.importJob?.status ?? '');
      const isFine = delivery.deadLettered === 0 && isRead;
      log[isFine ? 'info' : 'warn'](toLogFields(delivery), 'import job ended');
    },
  };
}

/** Numbers and codes alone: Klaviyo's words may echo an address, so they stay in the delivery log and the dead letter. */
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
