import type { Clock } from '../../clock.js';
import type { Endpoint, Limiter, Permit } from '../../model/limiter.js';
import type { RateWindow } from '../../model/limiter.js';
import { Signal } from '../signal.js';
import { Pacer } from './pacer.js';
import { TokenBucket } from './token-bucket.js';

/** Of one relay by itself: it knows nothing of what left before it started. */
export type LocalLimiter = Limiter & {
  /** An earlier process made a request that ended so long ago: Klaviyo still counts it. */
  restoreRequest(endpoint: Endpoint, endedAgoMs: number): void;
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
export function createLocalLimiter({
  clock,
  bucket,
  windows,
  onWaited,
}: LimiterOptions): LocalLimiter {
  const tokens = new TokenBucket(bucket, clock.monotonic());
  const pacers = {
    events: new Pacer(windows.events),
    profiles: new Pacer(windows.profiles),
    imports: new Pacer(windows.imports),
  };
  const pausedUntil: Record<Endpoint, number> = { events: 0, profiles: 0, imports: 0 };
  /** Rings when a permit ends, which no timer foretells. */
  const bell = new Signal();

  const waitMs = (endpoint: Endpoint, now: number): number =>
    Math.max(pausedUntil[endpoint] - now, tokens.waitMs(now), pacers[endpoint].waitMs(now));

  const grant = (endpoint: Endpoint): Permit => {
    tokens.acquire(clock.monotonic());
    pacers[endpoint].start(clock.monotonic());
    return {
      end(feedback) {
        pacers[endpoint].end(clock.monotonic());
        if (feedback !== null) pacers[endpoint].correct(feedback, clock.monotonic());
        bell.notify();
      },
      cancel() {
        pacers[endpoint].cancel();
        tokens.release(clock.monotonic());
        bell.notify();
      },
    };
  };

  return {
    async acquire(endpoint, signal) {
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
    restoreRequest: (endpoint, endedAgoMs) =>
      pacers[endpoint].restoreRequest(clock.monotonic() - endedAgoMs),
    tokens: () => tokens.tokens(clock.monotonic()),
  };
}
