import type { RequestedPause, Delivery, ImportJob, Trigger } from '../model/delivery.js';
import type { Envelope, BatchItem } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Outcome, Reason, Verdict } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';
import type { SendResult } from '../model/destination.js';
import { judge, type JudgeContext, type RetryPolicy } from './retry.js';
import type { JudgedItem } from './split.js';

/** What a request was, beside what it did. */
export type RequestFacts = {
  readonly id: string;
  readonly lane: Lane;
  readonly trigger: Trigger;
  /** Epoch ms. */
  readonly at: number;
  /** Every envelope in it, those that go again included. */
  readonly envelopes: readonly Envelope[];
  /** The pause that the lane makes from its end on. */
  readonly pause: RequestedPause;
};

/** A verdict for every envelope of every judged item. */
export function judgeItems(
  judged: readonly JudgedItem[],
  circumstances: JudgeContext & { readonly policy: RetryPolicy },
): readonly SettledEnvelope[] {
  const settled: SettledEnvelope[] = [];
  for (const { item, outcome } of judged) {
    const newest = item[item.length - 1];
    for (const envelope of item) {
      if (item.length > 1 && outcome.kind === 'rejected') {
        settled.push({ envelope, verdict: toAlone(outcome.reason) });
        continue;
      }
      const verdict = judge(envelope, outcome, circumstances);
      const isMerged = verdict.kind === 'ack' && envelope !== newest;
      settled.push({ envelope, verdict: isMerged ? merged : verdict });
    }
  }
  return settled;
}

const merged: Verdict = { kind: 'ack', as: 'merged' };

/** One of the merged profiles is bad; by itself each is judged on its own merits. */
const toAlone = (reason: Reason): Verdict => {
  return { kind: 'retry', afterMs: 0, reason, countAttempt: false, alone: true };
};

/** Pure: merged profiles go again one by one, at once, as if none of them had been tried. */
export function toUnmerged(
  items: readonly BatchItem[],
  reason: Reason,
): readonly SettledEnvelope[] {
  return items.flat().map((envelope): SettledEnvelope => ({ envelope, verdict: toAlone(reason) }));
}

/** Pure: nothing was decided about these, so they go back as they came. */
export function toReturned(items: readonly BatchItem[]): readonly SettledEnvelope[] {
  const reason: Reason = { code: 'stopped', detail: 'the lane stopped before this was sent' };
  return items.flat().map((envelope): SettledEnvelope => {
    return { envelope, verdict: { kind: 'retry', afterMs: 0, reason, countAttempt: false } };
  });
}

/** Pure: retries that wait no less than `minMs(envelope)`, and travel by themselves where `alone`. */
export function withMinDelay(
  settled: readonly SettledEnvelope[],
  minMs: (envelope: Envelope, afterMs: number) => number,
  alone?: boolean,
): readonly SettledEnvelope[] {
  return settled.map(({ envelope, verdict }) => {
    if (verdict.kind !== 'retry') return { envelope, verdict };
    const afterMs = Math.max(verdict.afterMs, minMs(envelope, verdict.afterMs));
    return { envelope, verdict: { ...verdict, afterMs, ...(alone === true && { alone }) } };
  });
}

/** Pure: the delivery log's entry. */
export function toDelivery(
  facts: RequestFacts,
  sent: SendResult,
  settled: readonly SettledEnvelope[],
): Delivery {
  const count = countVerdicts(settled);
  const importRef = sent.outcomes.find((outcome) => outcome.kind === 'pending')?.ref;
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
    result: toResult(sent.outcomes),
    delivered: count.delivered,
    merged: count.merged,
    retried: count.retry,
    deadLettered: count['dead-letter'],
    ...(sent.backfilled > 0 && { backfilled: sent.backfilled }),
    reason: sent.outcomes.map(reasonOf).find((reason) => reason !== null) ?? null,
    importJob:
      importRef === undefined
        ? null
        : { id: importRef, status: 'queued', completed: null, failed: null },
    // What only the relay decided, such as the wait between probes, begins anew with the process.
    ...(sent.outcomes.some(({ kind }) => kind === 'throttled') && {
      pause: facts.pause,
    }),
  };
}

/** Pure: the entry once the import job ended. */
export function toEndedDelivery(
  delivery: Delivery,
  job: ImportJob,
  settled: readonly SettledEnvelope[],
): Delivery {
  const count = countVerdicts(settled);
  const buried = settled
    .map(({ verdict }) => verdict)
    .find((verdict) => verdict.kind === 'dead-letter');
  return {
    ...delivery,
    result: count.delivered + count.merged === settled.length ? 'delivered' : 'partial',
    delivered: delivery.delivered + count.delivered,
    merged: delivery.merged + count.merged,
    retried: delivery.retried + count.retry,
    deadLettered: delivery.deadLettered + count['dead-letter'],
    reason: buried?.reason ?? delivery.reason,
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

const reasonOf = (outcome: Outcome) => ('reason' in outcome ? outcome.reason : null);

function toResult(outcomes: readonly Outcome[]): Delivery['result'] {
  const kinds = new Set(outcomes.map(({ kind }) => kind));
  if (kinds.size > 1) return 'partial';
  const [kind] = kinds;
  switch (kind) {
    case 'delivered':
    case 'pending':
    case 'rejected':
    case 'blocked':
      return kind;
    case 'unattributed':
      return 'rejected';
    default:
      return 'retried';
  }
}
