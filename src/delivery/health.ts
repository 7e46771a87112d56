import type { ClaimBounds } from '../model/envelope.js';
import type { Outcome } from '../model/outcome.js';
import type { LanePauses } from './pauses.js';
import { backoffMs, type RetryPolicy } from './retry.js';

/** The pauses that an answer begins and the next success ends; a lane has one of them at a time. */
const ofKlaviyo = ['throttled', 'outage', 'blocked'] as const;

/** Failed requests in a row after which the far side counts as down. */
const outageAfter = 3;
/** A probe is small: little is tried in vain, and a bad record in it is likely somewhere else next time. */
const probeCount = 10;
const minThrottleMs = 1000;
const throttleJitterMs = 500;
/** Somebody must change a key or a scope: ask from every 5 s to every 5 min. */
const blockedBackoff = { baseMs: 5000, maxDelayMs: 300_000 };
const isolateAfterAttempts = 3;

export type HealthOptions = {
  readonly pauses: LanePauses;
  readonly policy: RetryPolicy;
  readonly concurrency: number;
  readonly bounds: { readonly maxCount: number; readonly maxBytes: number };
};

/** What is known of a request beside its outcomes. */
export type FailureContext = {
  /** It may have failed for one of its records, and what is being halved shows whether Klaviyo is down. */
  readonly isUndecided?: boolean;
  /** One envelope that failed by itself before while others passed: that it fails says nothing about the lane. */
  readonly isSuspect?: boolean;
  /** Others passed since the batch failed that this is a part of. */
  readonly haveOthersPassed?: boolean;
};

/** How one lane is doing, and what it may try: everything, or one small probe at a time. */
export class LaneHealth {
  readonly #options: HealthOptions;
  #failures = 0;
  #passes = 0;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** An outage, or something that only a person can put right. */
  get isDown(): boolean {
    const { pauses } = this.#options;
    return pauses.has('outage') || pauses.has('blocked');
  }

  /** So many failures in a row that the next request decides whether it is an outage. */
  get isInDoubt(): boolean {
    return this.#failures >= outageAfter - 1;
  }

  /** Requests that Klaviyo judged, so far: evidence that it is up. */
  get passes(): number {
    return this.#passes;
  }

  maxInFlight(): number {
    return this.isDown ? 1 : this.#options.concurrency;
  }

  bounds(): ClaimBounds {
    const { maxCount, maxBytes } = this.#options.bounds;
    const count = this.isDown ? Math.min(probeCount, maxCount) : maxCount;
    return { maxCount: count, maxBytes, isolateAfterAttempts };
  }

  /** Notes what a request did to the lane as a whole; returns for how many ms the lane should pause. */
  noteOutcomes(
    outcomes: readonly Outcome[],
    random: number,
    { isUndecided = false, isSuspect = false, haveOthersPassed = false }: FailureContext = {},
  ): number {
    const telling = outcomes.find(({ kind }) => kind !== 'retryable') ?? outcomes[0];
    switch (telling?.kind) {
      case 'throttled':
        this.#enter('throttled', telling);
        return Math.max(minThrottleMs, telling.afterMs) + random * throttleJitterMs;
      case 'blocked':
        this.#failures++;
        if (isUndecided) return 0;
        this.#enter('blocked', telling);
        return backoffMs(this.#failures, blockedBackoff, 0.5 + random / 2);
      case 'retryable':
        if (isSuspect) return 0;
        this.#failures++;
        if (isUndecided || this.#failures < (haveOthersPassed ? 2 : 1) * outageAfter) return 0;
        this.#enter('outage', telling);
        return backoffMs(this.#failures - outageAfter + 2, this.#options.policy, 0.5 + random / 2);
      default:
        this.#failures = 0;
        this.#passes++;
        this.#options.pauses.end(...ofKlaviyo);
        return 0;
    }
  }

  #enter(kind: (typeof ofKlaviyo)[number], outcome: Extract<Outcome, { reason: unknown }>): void {
    const advice = outcome.kind === 'blocked' ? outcome.advice : undefined;
    this.#options.pauses.begin(kind, outcome.reason, { advice, replaces: ofKlaviyo });
  }
}
