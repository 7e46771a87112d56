import type { Clock } from '../clock.js';
import { redactText } from '../log/redact.js';
import type { DeliveryLogger } from '../model/destination.js';
import type { ClaimBounds } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { Outcome, Reason } from '../model/outcome.js';
import { backoffMs, type RetryPolicy } from './judge.js';
import { Signal } from './signal.js';

/**
 * The state of one lane: why it does not send as usual (`LanePauses`), and what Klaviyo's responses say
 * about it (`LaneHealth`).
 *
 * A lane has at most one of the pauses that Klaviyo's responses cause:
 * - `throttled`: a 429. The lane waits as long as Klaviyo requested, and a little longer at random.
 * - `outage`: `outageAfter` failed requests in a row. The lane waits with backoff and probes with small
 *   batches, one request at a time.
 * - `blocked`: the key, its scopes, the revision or the address is wrong. The lane probes in the same way,
 *   every 5 s at first and every 5 min later.
 * The next request that Klaviyo accepts or rejects ends each of them.
 *
 * Three more pauses exist beside these:
 * - `refusal`: Klaviyo rejects everything for one reason (`uniform-rejections.ts`).
 * - `dead_letters_full`: the dead letters are full. Nothing is sent until there is space.
 * - `by_hand`: an operator paused the lane. Nothing is sent until an operator resumes it.
 */
export type PauseKind =
  'throttled' | 'outage' | 'blocked' | 'refusal' | 'dead_letters_full' | 'by_hand';

export type Pause = {
  readonly kind: PauseKind;
  /** `code` is the label of the metric; `detail` is text for a person. */
  readonly reason: Reason;
  /** What an operator must do, such as the scopes to give to the key. It begins with what is wrong. */
  readonly advice?: string;
  /** Epoch ms. */
  readonly since: number;
};

/** During these pauses the lane sends nothing at all, not even a probe. */
const stopsAll: ReadonlySet<PauseKind> = new Set(['dead_letters_full', 'by_hand']);
/** These pauses are no reason for a warning. */
const isOrdinary: ReadonlySet<PauseKind> = new Set(['throttled', 'by_hand']);

export type LanePausesOptions = {
  readonly lane: Lane;
  readonly clock: Clock;
  readonly log: DeliveryLogger;
};

/**
 * The pauses of one lane, at most one of each kind. Readiness and the metric show them. Each change is
 * one log line.
 */
export class LanePauses {
  readonly #lane: Lane;
  readonly #clock: Clock;
  readonly #log: DeliveryLogger;
  readonly #pauses = new Map<PauseKind, Pause>();
  readonly #ended = new Signal();
  /** Monotonic ms of the beginning of the first pause. */
  #pausedAt = 0;

  constructor({ lane, clock, log }: LanePausesOptions) {
    this.#lane = lane;
    this.#clock = clock;
    this.#log = log;
  }

  list(): readonly Pause[] {
    return [...this.#pauses.values()];
  }

  has(kind: PauseKind): boolean {
    return this.#pauses.has(kind);
  }

  /** True while the lane must not send anything. */
  get isStopped(): boolean {
    for (const kind of stopsAll) if (this.#pauses.has(kind)) return true;
    return false;
  }

  /** Resolves when `isStopped` is false, or when `signal` aborts. */
  async untilOpen(signal: AbortSignal): Promise<void> {
    while (this.isStopped && !signal.aborted) await this.#ended.wait(this.#clock, null, signal);
  }

  /**
   * Begins a pause. A pause that has begun already keeps its beginning and gets the new reason, without
   * a log line. `replaces` ends these pauses without a log line. `advice` tells the operator what to do.
   */
  begin(
    kind: PauseKind,
    reason: Reason,
    {
      advice,
      replaces = [],
    }: { advice?: string | undefined; replaces?: readonly PauseKind[] } = {},
  ): void {
    if (this.#pauses.size === 0) this.#pausedAt = this.#clock.monotonic();
    const known = this.#pauses.get(kind);
    this.#pauses.set(kind, {
      kind,
      reason,
      since: known?.since ?? this.#clock.now(),
      ...(advice !== undefined && { advice }),
    });
    for (const other of replaces) if (other !== kind) this.#pauses.delete(other);
    if (known !== undefined) return;
    const words = advice ?? (kind === reason.code ? '' : reason.code);
    // The advice on `blocked` begins with what is wrong: "unauthorized: …".
    const name = kind === 'blocked' && advice !== undefined ? '' : toLabel(kind);
    const text = [name, words, redactText(reason.detail)].filter((part) => part !== '').join(': ');
    const fields = { lane: this.#lane, pause: kind, reason: reason.code };
    const level = isOrdinary.has(kind) ? 'info' : 'warn';
    this.#log[level](fields, `lane ${this.#lane} paused: ${text}`);
  }

  /** Ends the pauses of these kinds, if there are any. */
  end(...kinds: readonly PauseKind[]): void {
    const ended = kinds.filter((kind) => this.#pauses.delete(kind));
    if (ended.length === 0) return;
    this.#ended.notify();
    const forMs = this.#clock.monotonic() - this.#pausedAt;
    const fields = { lane: this.#lane, pause: ended.join(','), forMs: Math.round(forMs) };
    const left = this.list().map(({ kind }) => toLabel(kind));
    const text =
      left.length === 0
        ? `resumed after ${toSecondsText(forMs)}`
        : `still paused: ${left.join(', ')}; ended: ${ended.map(toLabel).join(', ')}`;
    this.#log.info(fields, `lane ${this.#lane} ${text}`);
  }
}

const toLabel = (kind: PauseKind): string => kind.replaceAll('_', ' ');

/** `0.4 s`, `42 s`. */
function toSecondsText(ms: number): string {
  return `${ms < 9950 ? Math.round(ms / 100) / 10 : Math.round(ms / 1000)} s`;
}

/** The pauses that a response begins. The lane has at most one of them at a time. */
const pausesByResponse = ['throttled', 'outage', 'blocked'] as const;

/** The number of failed requests in a row that is an outage. */
const outageAfter = 3;
/** A probe is small: it risks few attempts, and a bad record is probably not in the next one. */
const probeCount = 10;
const minThrottleMs = 1000;
const throttleJitterMs = 500;
/** Somebody must change a key or a scope. */
const blockedBackoff = { baseMs: 5000, maxDelayMs: 300_000 };
const isolateAfterAttempts = 3;

export type HealthOptions = {
  readonly pauses: LanePauses;
  readonly policy: RetryPolicy;
  readonly concurrency: number;
  readonly bounds: { readonly maxCount: number; readonly maxBytes: number };
};

/** What `Isolation` found out about a failed request. */
export type FailureContext = {
  /** One of its records may be the cause, and the parts of the halved batch will show whether Klaviyo is down. */
  readonly isUndecided?: boolean;
  /** One envelope that failed on its own before, while others succeeded: its failure says nothing about the lane. */
  readonly hasFailedAlone?: boolean;
  /** Other requests succeeded since the batch failed that this request is a part of. */
  readonly haveOthersPassed?: boolean;
};

/** Counts failed requests, begins and ends pauses, and decides how much the lane may send. */
export class LaneHealth {
  readonly #options: HealthOptions;
  #failures = 0;
  #passes = 0;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** True during an outage, and while an operator must correct something. */
  get isDown(): boolean {
    const { pauses } = this.#options;
    return pauses.has('outage') || pauses.has('blocked');
  }

  /** True if one more failure makes an outage. */
  get isInDoubt(): boolean {
    return this.#failures >= outageAfter - 1;
  }

  /** The number of requests that Klaviyo accepted or rejected: evidence that it is up. */
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

  /** Notes what a request says about the lane as a whole. Returns the ms for which the lane must pause. */
  noteOutcomes(
    outcomes: readonly Outcome[],
    random: number,
    { isUndecided = false, hasFailedAlone = false, haveOthersPassed = false }: FailureContext = {},
  ): number {
    const { pauses, policy } = this.#options;
    const outcome = outcomes.find(({ kind }) => kind !== 'retryable') ?? outcomes[0];
    switch (outcome?.kind) {
      case 'throttled':
        pauses.begin('throttled', outcome.reason, { replaces: pausesByResponse });
        return Math.max(minThrottleMs, outcome.afterMs) + random * throttleJitterMs;
      case 'blocked': {
        this.#failures++;
        if (isUndecided) return 0;
        const { reason, advice } = outcome;
        pauses.begin('blocked', reason, { advice, replaces: pausesByResponse });
        return backoffMs(this.#failures, blockedBackoff, 0.5 + random / 2);
      }
      case 'retryable':
        if (hasFailedAlone) return 0;
        this.#failures++;
        if (isUndecided || this.#failures < (haveOthersPassed ? 2 : 1) * outageAfter) return 0;
        pauses.begin('outage', outcome.reason, { replaces: pausesByResponse });
        return backoffMs(this.#failures - outageAfter + 2, policy, 0.5 + random / 2);
      default:
        this.#failures = 0;
        this.#passes++;
        pauses.end(...pausesByResponse);
        return 0;
    }
  }
}
