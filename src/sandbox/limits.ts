/**
 * Klaviyo's rate limits. Klaviyo counts in fixed windows (recorded live: `ratelimit-reset` counts
 * down to the same moment for all), so a client may send two windows' worth of requests around a
 * boundary. A safe client stays within every sliding window. The sandbox therefore does both: it
 * throttles by fixed windows, and it records violations of sliding windows without throttling them.
 */

import type { Clock } from '../clock.js';
import type { RateWindow } from '../model/limiter.js';
import type { Endpoint } from './endpoints.js';
import { createRing } from './ring.js';

/** A sliding window that held more arrivals than its limit. */
export type Violation = {
  readonly endpoint: Endpoint;
  readonly operation: string;
  /** Epoch ms of the arrival that exceeded the limit. */
  readonly at: number;
  readonly window: RateWindow;
  /** Arrivals within the window that ends with this one, counted up to twice the limit. */
  readonly count: number;
  /** Ms in which `limit + 1` requests arrived: how far the client was above the limit. */
  readonly spanMs: number;
};

/** `headers` go on every response except a 429. */
export type Quota =
  | { readonly ok: true; readonly headers: Readonly<Record<string, string>> }
  | { readonly ok: false; readonly retryAfterSeconds: number };

/** An operation, as far as rate limits concern it. Operations with one name share their windows. */
export type LimitedOperation = { readonly name: string; readonly endpoint: Endpoint };

/** One per account, because all of its keys share the quota. */
export type Limits = {
  /** Records an arrival and checks the sliding windows, whatever the response will be. */
  recordArrival(operation: LimitedOperation, windows: readonly RateWindow[]): void;
  /** Counts a request in the fixed windows, or returns how long they stay full. */
  consume(operation: LimitedOperation, windows: readonly RateWindow[]): Quota;
  violations(): readonly Violation[];
  violationCount(): number;
};

/** A ring of monotonic times, twice as long as the largest limit. `total` counts all arrivals. */
type Arrivals = { readonly times: number[]; total: number };
/** `index` numbers the windows since the clock's zero. */
type FixedWindow = { index: number; used: number };

export function createLimits(clock: Clock): Limits {
  const arrivals = new Map<string, Arrivals>();
  const fixed = new Map<string, FixedWindow[]>();
  const violations = createRing<Violation>(1000);

  return {
    recordArrival(operation, windows) {
      if (windows.length === 0) return;
      const size = 2 * Math.max(...windows.map((window) => window.limit)) + 1;
      const seen = arrivals.get(operation.name) ?? { times: [], total: 0 };
      arrivals.set(operation.name, seen);
      const now = clock.monotonic();
      seen.times[seen.total++ % size] = now;
      for (const window of windows) {
        const spanMs = now - getArrivalTime(seen, window.limit, size);
        if (spanMs >= window.windowMs) continue;
        let count = window.limit + 1;
        while (
          count < 2 * window.limit &&
          now - getArrivalTime(seen, count, size) < window.windowMs
        )
          count++;
        violations.push({
          endpoint: operation.endpoint,
          operation: operation.name,
          at: clock.now(),
          window,
          count,
          spanMs,
        });
      }
    },

    consume(operation, windows) {
      const now = clock.monotonic();
      const state = fixed.get(operation.name) ?? windows.map(() => ({ index: -1, used: 0 }));
      fixed.set(operation.name, state);
      const states = windows.map((window, position) => readWindow(window, state[position], now));
      const closed = states.filter((state) => state.remaining <= 0);
      if (closed.length > 0) {
        const waitMs = Math.max(...closed.map((state) => state.resetMs));
        return { ok: false, retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) };
      }
      for (const one of state) one.used++;
      return { ok: true, headers: toRateLimitHeaders(states) };
    },

    violations: () => violations.all(),
    violationCount: () => violations.total(),
  };
}

/**
 * Returns when the arrival `back` positions before the newest one happened, or -Infinity if there
 * was none.
 */
function getArrivalTime(seen: Arrivals, back: number, size: number): number {
  if (back >= seen.total || back >= size) return -Infinity;
  return seen.times[(seen.total - 1 - back) % size] ?? -Infinity;
}

type WindowState = {
  readonly window: RateWindow;
  readonly remaining: number;
  readonly resetMs: number;
};

/**
 * Starts a new window when the current one is over. `remaining` does not include this request yet.
 */
function readWindow(window: RateWindow, state: FixedWindow | undefined, now: number): WindowState {
  const index = Math.floor(now / window.windowMs);
  if (state !== undefined && state.index !== index) {
    state.index = index;
    state.used = 0;
  }
  return {
    window,
    remaining: window.limit - (state?.used ?? 0),
    resetMs: (index + 1) * window.windowMs - now,
  };
}

/**
 * Recorded live: `ratelimit-limit: 10, 10;w=1, 150;w=60`, `ratelimit-remaining: 9`,
 * `ratelimit-reset: 0`. The first number and the other two headers describe the window that is
 * nearest to its limit.
 */
function toRateLimitHeaders(states: readonly WindowState[]): Readonly<Record<string, string>> {
  const [nearest] = [...states].sort(
    (a, b) => a.remaining - b.remaining || b.window.windowMs - a.window.windowMs,
  );
  if (nearest === undefined) return {};
  const all = states.map(({ window }) => `${window.limit};w=${window.windowMs / 1000}`);
  return {
    'ratelimit-limit': [String(nearest.window.limit), ...all].join(', '),
    'ratelimit-remaining': String(nearest.remaining - 1),
    'ratelimit-reset': String(Math.floor(nearest.resetMs / 1000)),
  };
}
