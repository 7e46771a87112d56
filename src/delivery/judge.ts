import type { Clock } from '../clock.js';
import type { BatchItem, Envelope } from '../model/envelope.js';
import type { Outcome, Reason, SplitMethod, Verdict } from '../model/outcome.js';
import type { SettledEnvelope } from '../model/store.js';

/**
 * Judging: turns what a request did to each batch item (outcome) into what the relay does with each
 * envelope (verdict).
 *
 * 1. `splitBatch` separates the items that the request decided from those that must be sent again in a
 *    smaller batch (outcome `unattributed`).
 * 2. `judgeItems` gives every envelope of a decided item its verdict:
 *
 * | outcome   | verdict                                                                               |
 * |-----------|---------------------------------------------------------------------------------------|
 * | delivered | ack                                                                                   |
 * | pending   | poll the import job                                                                   |
 * | rejected  | dead-letter; profiles that were merged are each sent again alone                      |
 * | throttled | retry at once; the lane is paused, so the attempt is not counted                      |
 * | blocked   | retry as soon as the lane allows it; the attempt is not counted                       |
 * | retryable | retry after a backoff, or dead-letter after too many attempts or too much time        |
 *
 * Everything but `FailureHistory` is pure.
 */
export type DecidedOutcome = Exclude<Outcome, { kind: 'unattributed' }>;

/** One item and what the request did to it. */
export type JudgedItem = { readonly item: BatchItem; readonly outcome: DecidedOutcome };

export type Split = {
  readonly judged: readonly JudgedItem[];
  /** The batches to send again; empty if everything is judged. */
  readonly again: readonly (readonly BatchItem[])[];
  readonly method: SplitMethod | null;
};

/** Every batch in `again` is smaller than the failed one, so splitting ends. */
export function splitBatch(items: readonly BatchItem[], outcomes: readonly Outcome[]): Split {
  const judged: JudgedItem[] = [];
  const rest: BatchItem[] = [];
  let unattributed: Extract<Outcome, { kind: 'unattributed' }> | undefined;
  items.forEach((item, index) => {
    const outcome = outcomes[index] ?? missingOutcome;
    if (outcome.kind !== 'unattributed') judged.push({ item, outcome });
    else {
      rest.push(item);
      unattributed ??= outcome;
    }
  });
  if (unattributed === undefined) return { judged, again: [], method: null };
  const { method, reason } = unattributed;
  if (method === 'pointer' && judged.length > 0) return { judged, again: [rest], method };
  const [only] = rest;
  if (rest.length === 1 && only !== undefined && judged.length === 0) {
    const outcome = { kind: 'rejected', reason } as const;
    return { judged: [{ item: only, outcome }], again: [], method: null };
  }
  const middle = Math.ceil(rest.length / 2);
  const again = [rest.slice(0, middle), rest.slice(middle)].filter((half) => half.length > 0);
  return { judged, again, method: method === 'size' ? 'size' : 'bisect' };
}

/** A destination with too few outcomes has a bug; the envelope can safely be sent again. */
const missingOutcome: DecidedOutcome = {
  kind: 'retryable',
  reason: { code: 'no_outcome', detail: 'no outcome was given for this envelope' },
};

export type RetryPolicy = {
  readonly baseMs: number;
  readonly maxDelayMs: number;
  /** 0: no limit. */
  readonly maxAttempts: number;
  /** Since acceptance, by the wall clock; 0: no limit. Applies only together with `FailureHistory`. */
  readonly maxAgeMs: number;
};

export type JudgeContext = {
  readonly policy: RetryPolicy;
  /** Epoch ms. */
  readonly now: number;
  /** In [0, 1), drawn once for a request, so that its envelopes stay together. */
  readonly random: number;
  readonly failureHistory: Pick<FailureHistory, 'noteFailure'>;
};

/** Returns a verdict for every envelope of every item, in order. */
export function judgeItems(
  judged: readonly JudgedItem[],
  context: JudgeContext,
): readonly SettledEnvelope[] {
  const settled: SettledEnvelope[] = [];
  for (const { item, outcome } of judged) {
    const newest = item[item.length - 1];
    for (const envelope of item) {
      if (item.length > 1 && outcome.kind === 'rejected') {
        settled.push({ envelope, verdict: retryAlone(outcome.reason) });
        continue;
      }
      const verdict = judgeEnvelope(envelope, outcome, context);
      const isMerged = verdict.kind === 'ack' && envelope !== newest;
      settled.push({ envelope, verdict: isMerged ? merged : verdict });
    }
  }
  return settled;
}

/** The verdicts of items whose profiles Klaviyo already has. */
export const judgeDelivered = (items: readonly BatchItem[]): readonly SettledEnvelope[] =>
  items.flatMap((item) =>
    item.map((envelope, index) => ({
      envelope,
      verdict: index === item.length - 1 ? delivered : merged,
    })),
  );

/** Constants, because most envelopes get one of them. */
const delivered: Verdict = { kind: 'ack', as: 'delivered' };
const merged: Verdict = { kind: 'ack', as: 'merged' };

/** How long an envelope waits if its content may be why the lane is blocked. */
const blockedProbeMs = 60_000;

/** Returns the verdict for one envelope. */
export function judgeEnvelope(
  envelope: Envelope,
  outcome: DecidedOutcome,
  context: JudgeContext,
): Verdict {
  switch (outcome.kind) {
    case 'delivered':
      return delivered;
    case 'pending':
      return { kind: 'poll', ref: outcome.ref };
    case 'rejected':
      return { kind: 'dead-letter', reason: outcome.reason };
    // The lane is paused in these two cases, and the envelope is not the cause.
    case 'throttled':
      return { kind: 'retry', afterMs: 0, reason: outcome.reason, countAttempt: false };
    case 'blocked': {
      // If the content may be the cause, other envelopes are the next probe.
      const afterMs = outcome.mayBeContent === true ? blockedProbeMs : 0;
      return { kind: 'retry', afterMs, reason: outcome.reason, countAttempt: false };
    }
    case 'retryable': {
      const { policy, random } = context;
      const finalReason = findFinalReason(envelope, outcome.reason, context);
      if (finalReason !== null) return { kind: 'dead-letter', reason: finalReason };
      const afterMs = Math.max(
        backoffMs(envelope.attempts + 1, policy, random),
        outcome.afterMs ?? 0,
      );
      return { kind: 'retry', afterMs, reason: outcome.reason, countAttempt: true };
    }
  }
}

/** Capped exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"). */
export function backoffMs(
  attempt: number,
  { baseMs, maxDelayMs }: Pick<RetryPolicy, 'baseMs' | 'maxDelayMs'>,
  random: number,
): number {
  return Math.round(random * Math.min(maxDelayMs, baseMs * 2 ** (attempt - 1)));
}

/** The reason to give up after a failed attempt; null if the envelope is to be sent again. */
function findFinalReason(
  envelope: Envelope,
  reason: Reason,
  { policy, now, failureHistory }: JudgeContext,
): Reason | null {
  const attempts = envelope.attempts + 1;
  const isTooOften = policy.maxAttempts > 0 && attempts >= policy.maxAttempts;
  const isTooOld = policy.maxAgeMs > 0 && now - envelope.acceptedAt >= policy.maxAgeMs;
  const isGivenUpByAge = isTooOld && failureHistory.noteFailure(envelope);
  if (!isTooOften && !isGivenUpByAge) return null;
  const detail = `given up after ${attempts} attempts; the last: ${reason.code}: ${reason.detail}`;
  return { ...reason, code: isTooOften ? 'attempts_exhausted' : 'too_old', detail };
}

/** A profile that failed as part of a merged one is sent again alone, at once, without a counted attempt. */
const retryAlone = (reason: Reason): Verdict => {
  return { kind: 'retry', afterMs: 0, reason, countAttempt: false, alone: true };
};

/** Every merged profile is sent again alone. */
export function toUnmerged(
  items: readonly BatchItem[],
  reason: Reason,
): readonly SettledEnvelope[] {
  return items.flat().map((envelope) => ({ envelope, verdict: retryAlone(reason) }));
}

/** Nothing was decided about these envelopes: they return to the store unchanged. */
export function toReturned(items: readonly BatchItem[]): readonly SettledEnvelope[] {
  const reason: Reason = { code: 'stopped', detail: 'the lane stopped before this was sent' };
  const verdict: Verdict = { kind: 'retry', afterMs: 0, reason, countAttempt: false };
  return items.flat().map((envelope) => ({ envelope, verdict }));
}

/** Retries wait at least `minMs(envelope, afterMs)`, and are sent alone if `alone` is true. */
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

/** An envelope that is too old by the wall clock is given up after so many of its own failures … */
const minFailures = 5;
/** … over a span of this length, or of RETRY_MAX_AGE_MS if that is shorter. */
const minSpanMs = 600_000;
/** Envelopes in memory. If there are more, those whose last failure is the oldest are forgotten. */
const maxEnvelopes = 50_000;

/**
 * The failures of envelopes that are too old by the wall clock. The wall clock may have been wrong when
 * it stamped an envelope, or may be wrong now. So an envelope is given up only if this process also saw it
 * fail several times over a span of monotonic time.
 */
export class FailureHistory {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #spanMs: number;
  readonly #failures = new Map<string, { readonly sinceMs: number; readonly count: number }>();

  constructor({
    clock,
    maxAgeMs,
  }: {
    readonly clock: Pick<Clock, 'monotonic'>;
    readonly maxAgeMs: number;
  }) {
    this.#clock = clock;
    this.#spanMs = Math.min(maxAgeMs, minSpanMs);
  }

  /** Notes a failed attempt. Returns true if the envelope may be given up. */
  noteFailure({ id }: Pick<Envelope, 'id'>): boolean {
    const now = this.#clock.monotonic();
    const before = this.#failures.get(id);
    const failures = { sinceMs: before?.sinceMs ?? now, count: (before?.count ?? 0) + 1 };
    this.#failures.delete(id);
    if (failures.count >= minFailures && now - failures.sinceMs >= this.#spanMs) return true;
    this.#failures.set(id, failures);
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= maxEnvelopes) break;
      this.#failures.delete(oldest);
    }
    return false;
  }
}
