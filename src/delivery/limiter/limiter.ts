import type { Clock } from '../../clock.js';
import {
  burstShare,
  mapEndpoints,
  type Endpoint,
  type Limiter,
  type Permit,
  type RateFeedback,
  type RateWindow,
} from '../../model/limiter.js';
import { Signal } from '../signal.js';

/**
 * The limiter of one relay: it decides when a request may leave. Three rules apply, and a request waits
 * for all of them:
 * - one token bucket over all endpoints (`TokenBucket`);
 * - for each endpoint its rate windows and an even pace (`Pacer` over `SlidingWindow`s);
 * - for each endpoint the pause that Klaviyo requested.
 *
 * Klaviyo's limits hold whatever the latency is, because a request keeps its place in a window until
 * `windowMs` after its END. All times are monotonic ms.
 */
export type LocalLimiter = Limiter & {
  /** Adds requests of an earlier process, by the ms since they ended: Klaviyo still counts them. */
  addEndedRequests(endpoint: Endpoint, endedAgoMs: readonly number[]): void;
};

export type LimiterOptions = {
  readonly clock: Clock;
  readonly bucket: { readonly perSecond: number; readonly burst: number };
  /** An endpoint without windows has no bound of its own. */
  readonly windows: Readonly<Partial<Record<Endpoint, readonly RateWindow[]>>>;
  /** Called with the seconds that a request waited for its permit. */
  readonly onWaited?: (seconds: number) => void;
};

/** A timer that fires a fraction too early must not make the loop spin. */
const minWaitMs = 1;

export function createLocalLimiter({
  clock,
  bucket,
  windows,
  onWaited,
}: LimiterOptions): LocalLimiter {
  const tokens = new TokenBucket(bucket, clock.monotonic());
  const pacers = mapEndpoints((endpoint) => new Pacer(windows[endpoint] ?? []));
  const pausedUntil = mapEndpoints(() => 0);
  /** Notified when a permit ends: no timer can foresee that. */
  const permitEnded = new Signal();

  const grant = (endpoint: Endpoint): Permit => {
    const pacer = pacers[endpoint];
    tokens.acquire(clock.monotonic());
    pacer.start(clock.monotonic());
    return {
      end(feedback) {
        const now = clock.monotonic();
        pacer.end(now);
        if (feedback !== null) pacer.correct(feedback, now);
        permitEnded.notify();
      },
      cancel() {
        pacer.cancel();
        tokens.release(clock.monotonic());
        permitEnded.notify();
      },
    };
  };

  return {
    async acquire(endpoint, signal) {
      const from = clock.monotonic();
      for (;;) {
        if (signal.aborted) return null;
        const now = clock.monotonic();
        const delayMs = Math.max(
          pausedUntil[endpoint] - now,
          tokens.waitMs(now),
          pacers[endpoint].waitMs(now),
        );
        if (delayMs <= 0) break;
        const forMs = delayMs === Infinity ? null : Math.max(minWaitMs, delayMs);
        await permitEnded.wait(clock, forMs, signal);
      }
      onWaited?.((clock.monotonic() - from) / 1000);
      return grant(endpoint);
    },
    pause(endpoint, forMs) {
      const until = clock.monotonic() + forMs;
      pausedUntil[endpoint] = Math.max(pausedUntil[endpoint], until);
      pacers[endpoint].resumeAt(until);
    },
    addEndedRequests(endpoint, endedAgoMs) {
      const now = clock.monotonic();
      pacers[endpoint].addEndedRequests(endedAgoMs.map((agoMs) => now - agoMs));
    },
    tokens: () => tokens.tokens(clock.monotonic()),
  };
}

/** Refills steadily up to `burst`. Each request takes one token. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor({ perSecond, burst }: { perSecond: number; burst: number }, now: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  tokens(now: number): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMs);
    this.#at = now;
    return this.#tokens;
  }

  waitMs(now: number): number {
    return Math.max(0, (1 - this.tokens(now)) / this.#perMs);
  }

  acquire(now: number): void {
    this.#tokens = this.tokens(now) - 1;
  }

  /** Returns a token that was acquired and not used. */
  release(now: number): void {
    this.#tokens = Math.min(this.#burst, this.tokens(now) + 1);
  }
}

/**
 * The rate windows of one endpoint, and its pace. The longest window is spent evenly: after an idle time
 * a burst may leave at once, and after the burst one request per even spacing. Without windows there is
 * no pace.
 */
class Pacer {
  readonly #windows: readonly SlidingWindow[];
  readonly #longest: SlidingWindow | undefined;
  /** When the next request is due at the even pace; in the past after an idle time. */
  #dueAt = -Infinity;
  #spacingMs: number;

  constructor(windows: readonly RateWindow[]) {
    this.#windows = windows
      .map((window) => new SlidingWindow(window))
      .sort((a, b) => a.windowMs - b.windowMs);
    this.#longest = this.#windows.at(-1);
    this.#spacingMs = this.#longest?.evenSpacingMs(0) ?? 0;
  }

  waitMs(now: number): number {
    const paceMs = this.#dueAt - (this.#burst() - 1) * this.#spacingMs - now;
    return this.#windows.reduce(
      (waitMs, window) => Math.max(waitMs, window.waitMs(now)),
      Math.max(0, paceMs),
    );
  }

  start(now: number): void {
    for (const window of this.#windows) window.start();
    if (this.#longest === undefined) return;
    this.#spacingMs = this.#longest.evenSpacingMs(now);
    this.#dueAt = Math.max(now, this.#dueAt) + this.#spacingMs;
  }

  end(now: number): void {
    for (const window of this.#windows) window.end(now);
  }

  cancel(): void {
    for (const window of this.#windows) window.cancel();
    this.#dueAt -= this.#spacingMs;
  }

  addEndedRequests(endedAt: readonly number[]): void {
    for (const window of this.#windows) window.addEndedRequests(endedAt);
  }

  /** After a pause, requests continue at the even pace and not with a burst. */
  resumeAt(at: number): void {
    this.#dueAt = Math.max(this.#dueAt, at + (this.#burst() - 1) * this.#spacingMs);
  }

  /** Takes over what Klaviyo said about its limits and about the requests that it counted. */
  correct(feedback: RateFeedback, now: number): void {
    for (const { limit, windowMs } of feedback.windows) {
      this.#windows.find((window) => window.windowMs === windowMs)?.announce(limit);
    }
    const { remaining, remainingOf, resetMs } = feedback;
    if (remaining === null || remainingOf === null) return;
    const window = this.#windows.find(({ limit }) => limit === remainingOf);
    if (window === undefined) return;
    const forMs =
      resetMs !== null && resetMs > 0 ? Math.min(resetMs, window.windowMs) : window.windowMs;
    window.noteUsed(remainingOf - remaining, now, forMs);
  }

  /**
   * How many requests may leave at once after an idle time: as many as the shortest window allows, less
   * those that follow at the even pace within it. So no request waits because of the burst.
   */
  #burst(): number {
    const [shortest, ...longer] = this.#windows;
    if (shortest === undefined || this.#longest === undefined) return 1;
    if (longer.length === 0) return Math.max(1, Math.floor(shortest.limit * burstShare));
    const evenMs = this.#longest.windowMs / this.#longest.limit;
    return Math.max(1, shortest.limit - Math.ceil(shortest.windowMs / evenMs));
  }
}

/**
 * Allows at most `limit` requests in any `windowMs` as Klaviyo counts them. A request may arrive at any
 * time between its start and its end, so it keeps its place until `windowMs` after its END. That costs a
 * little of the allowance (latency / windowMs) and makes the limit certain.
 */
export class SlidingWindow {
  readonly windowMs: number;
  readonly #configured: number;
  #limit: number;
  #inFlight = 0;
  /** When the place of each ended request becomes free, ascending. Includes requests of other clients. */
  #freeAt: number[] = [];

  constructor({ limit, windowMs }: RateWindow) {
    this.#configured = limit;
    this.#limit = limit;
    this.windowMs = windowMs;
  }

  get limit(): number {
    return this.#limit;
  }

  /** The number of occupied places, requests in flight included. */
  used(now: number): number {
    this.#expire(now);
    return this.#inFlight + this.#freeAt.length;
  }

  /** Ms until a place is free: 0 if one is free now, Infinity if only the end of a request can free one. */
  waitMs(now: number): number {
    const excess = this.used(now) - this.#limit;
    if (excess < 0) return 0;
    const freeAt = this.#freeAt[excess];
    return freeAt === undefined ? Infinity : freeAt - now;
  }

  start(): void {
    this.#inFlight++;
  }

  end(now: number): void {
    this.#inFlight--;
    this.#freeAt.push(now + this.windowMs);
  }

  /** Undoes a start that led to no request. */
  cancel(): void {
    this.#inFlight--;
  }

  /** Adds requests of an earlier process, by the times at which they ended. */
  addEndedRequests(endedAt: readonly number[]): void {
    for (const at of endedAt) this.#freeAt.push(at + this.windowMs);
    this.#freeAt.sort((a, b) => a - b);
  }

  /**
   * The spacing in ms at which requests can follow one another without ever waiting for a place: even
   * over the places that are left, and wider after a burst until its places are free again. Places whose
   * time is over need not be removed first, because they count as left.
   */
  evenSpacingMs(now: number): number {
    const left = this.#limit - this.#inFlight - this.#freeAt.length;
    return this.#freeAt.reduce(
      (spacing, freeAt, index) => Math.max(spacing, (freeAt - now) / Math.max(1, left + index + 1)),
      this.windowMs / this.#limit,
    );
  }

  /** Applies the limit that Klaviyo announced last. It never exceeds the operator's setting. */
  announce(limit: number): void {
    this.#limit = Math.max(1, Math.min(this.#configured, limit));
  }

  /**
   * Klaviyo counted `used` requests. If these are more than our own, other clients use the account, and
   * the excess occupies places for `forMs`. Our own requests are never counted twice.
   */
  noteUsed(used: number, now: number, forMs: number): void {
    const foreign = Math.min(used, this.#limit) - this.used(now);
    for (let index = 0; index < foreign; index++) this.#freeAt.push(now + forMs);
    this.#freeAt.sort((a, b) => a - b);
  }

  #expire(now: number): void {
    const kept = this.#freeAt.findIndex((freeAt) => freeAt > now);
    if (kept === -1) this.#freeAt = [];
    else this.#freeAt.splice(0, kept);
  }
}
