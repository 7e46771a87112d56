import type { Clock } from '../clock.js';
import type { RateFeedback, RateWindow } from '../envelope.js';
import { Bell } from './bell.js';
import { Pacer } from './pacer.js';
import { TokenBucket } from './token-bucket.js';

/** What is limited by itself at Klaviyo: the two bulk endpoints, and looking at import jobs. */
export type Endpoint = 'events' | 'profiles' | 'imports';

/** The right to make one request. Exactly one of `end` and `cancel` is called, once. */
export type Permit = {
  /** The request ended, answered or not. */
  end(feedback: RateFeedback | null): void;
  /** No request was made. */
  cancel(): void;
};

/** Who says when a request may leave. Every request takes a permit, retries and splits included. */
export type Limiter = {
  /** Resolves when a request may leave now; null when `signal` aborts first. */
  take(endpoint: Endpoint, signal: AbortSignal): Promise<Permit | null>;
  /** No request to the endpoint leaves for so long; a shorter pause never cuts a longer one. */
  pause(endpoint: Endpoint, forMs: number): void;
  /** Tokens left in the shared bucket. */
  tokens(): number;
};

/** Of one relay by itself: it knows nothing of what left before it started. */
export type OwnLimiter = Limiter & {
  /** An earlier process made a request that ended so long ago: Klaviyo still counts it. */
  recall(endpoint: Endpoint, endedAgoMs: number): void;
};

export type LimiterOptions = {
  readonly clock: Clock;
  readonly bucket: { readonly perSecond: number; readonly burst: number };
  readonly windows: Readonly<Record<Endpoint, readonly RateWindow[]>>;
  /** Seconds a permit was waited for. */
  readonly onWaited?: (seconds: number) => void;
};

/** Rounds waits up, so that a timer that fires a fraction early does not spin. */
const minWaitMs = 1;

/** One token bucket over all endpoints and, under it, each endpoint's windows; for one relay. */
export function createLimiter({ clock, bucket, windows, onWaited }: LimiterOptions): OwnLimiter {
  const tokens = new TokenBucket(bucket, clock.monotonic());
  const pacers = {
    events: new Pacer(windows.events),
    profiles: new Pacer(windows.profiles),
    imports: new Pacer(windows.imports),
  };
  const pausedUntil: Record<Endpoint, number> = { events: 0, profiles: 0, imports: 0 };
  /** Rings when a permit ends, which no timer foretells. */
  const bell = new Bell();

  const waitMs = (endpoint: Endpoint, now: number): number =>
    Math.max(pausedUntil[endpoint] - now, tokens.waitMs(now), pacers[endpoint].waitMs(now));

  const grant = (endpoint: Endpoint): Permit => {
    tokens.take(clock.monotonic());
    pacers[endpoint].start(clock.monotonic());
    return {
      end(feedback) {
        pacers[endpoint].end(clock.monotonic());
        if (feedback !== null) pacers[endpoint].correct(feedback, clock.monotonic());
        bell.ring();
      },
      cancel() {
        pacers[endpoint].cancel();
        tokens.giveBack(clock.monotonic());
        bell.ring();
      },
    };
  };

  return {
    async take(endpoint, signal) {
      const from = clock.monotonic();
      for (;;) {
        if (signal.aborted) return null;
        const delayMs = waitMs(endpoint, clock.monotonic());
        if (delayMs <= 0) break;
        const forMs = delayMs === Infinity ? null : Math.max(minWaitMs, delayMs);
        await bell.wait(clock, forMs, signal);
      }
      onWaited?.((clock.monotonic() - from) / 1000);
      return grant(endpoint);
    },
    pause(endpoint, forMs) {
      const until = clock.monotonic() + forMs;
      pausedUntil[endpoint] = Math.max(pausedUntil[endpoint], until);
      pacers[endpoint].resumeAt(until);
    },
    recall: (endpoint, endedAgoMs) => pacers[endpoint].recall(clock.monotonic() - endedAgoMs),
    tokens: () => tokens.tokens(clock.monotonic()),
  };
}
