import type { Envelope } from '../model/envelope.js';
import type { Outcome, Reason, Verdict } from '../model/outcome.js';

export type RetryPolicy = {
  readonly baseMs: number;
  readonly maxDelayMs: number;
  /** 0: no bound. */
  readonly maxAttempts: number;
  /** Since acceptance, by the wall clock; 0: no bound. Counts only together with `hasFailedEnough`. */
  readonly maxAgeMs: number;
};

/** What `judge` may know beside the outcome. `random` in [0, 1) is drawn once a request, so that its envelopes stay together. */
export type JudgeContext = {
  readonly now: number;
  readonly random: number;
  /** Asked at each failure of an envelope that is too old: whether this process saw it fail for long enough. */
  readonly hasFailedEnough: (envelope: Envelope) => boolean;
};

/** What stays to be decided: an `unblamed` envelope is sent again in smaller company, not judged. */
export type DecidedOutcome = Exclude<Outcome, { kind: 'unattributed' }>;

const blockedProbeMs = 60_000;

/** One for all: most envelopes get it. */
const delivered: Verdict = { kind: 'ack', as: 'delivered' };

/** Joins what an attempt did to an envelope with what we do about it. */
export function judge(
  envelope: Envelope,
  outcome: DecidedOutcome,
  circumstances: JudgeContext & { readonly policy: RetryPolicy },
): Verdict {
  switch (outcome.kind) {
    case 'delivered':
      return delivered;
    case 'pending':
      return { kind: 'poll', ref: outcome.ref };
    case 'rejected':
      return { kind: 'dead-letter', reason: outcome.reason };
    // The lane is paused for these two; the envelope has done nothing wrong and waits at the front.
    case 'throttled':
      return { kind: 'retry', afterMs: 0, reason: outcome.reason, countAttempt: false };
    case 'blocked': {
      // Where its content may be the cause, others are the next probe.
      const afterMs = outcome.mayBeContent === true ? blockedProbeMs : 0;
      return { kind: 'retry', afterMs, reason: outcome.reason, countAttempt: false };
    }
    case 'retryable': {
      const { policy, random } = circumstances;
      const given = toGivenUp(envelope, { ...circumstances, reason: outcome.reason });
      if (given !== null) return { kind: 'dead-letter', reason: given };
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
  return Math.round(random * Math.min(maxDelayMs, baseMs * 2 ** Math.min(attempt - 1, 52)));
}

function toGivenUp(
  envelope: Envelope,
  {
    policy,
    now,
    hasFailedEnough: hasFailedEnough,
    reason,
  }: JudgeContext & { readonly policy: RetryPolicy; readonly reason: Reason },
): Reason | null {
  const attempts = envelope.attempts + 1;
  const tooOften = policy.maxAttempts > 0 && attempts >= policy.maxAttempts;
  const tooOld = policy.maxAgeMs > 0 && now - envelope.acceptedAt >= policy.maxAgeMs;
  const isOver = tooOld && hasFailedEnough(envelope);
  if (!tooOften && !isOver) return null;
  const code = tooOften ? 'attempts_exhausted' : 'too_old';
  return {
    ...reason,
    code,
    detail: `given up after ${attempts} attempts; the last: ${reason.code}: ${reason.detail}`,
  };
}
