import type { Clock } from '../clock.js';
import type { RateWindow } from '../model/limiter.js';
import type { Endpoint } from './endpoints.js';
import type { Operation } from './operations.js';
import { createRing } from './ring.js';

/** A sliding window that held more arrivals than its limit. */
export type Violation = {
  readonly endpoint: Endpoint;
  readonly operation: string;
  /** Epoch ms of the arrival that was one too many. */
  readonly at: number;
  readonly window: RateWindow;
  /** Arrivals within the window that ends with this one; counted up to twice the limit. */
  readonly count: number;
  /** Ms in which `limit + 1` arrivals fell: how far from the limit the sender was. */
  readonly spanMs: number;
};

/** `ok` carries the headers that every answer but a 429 has. */
export type Admission =
  | { readonly ok: true; readonly headers: Readonly<Record<string, string>> }
  | { readonly ok: false; readonly retryAfterSeconds: number };

/** One account has one of these: all of its keys share the quota. */
export type Limits = {
  /** Judges an arrival with sliding windows, whatever becomes of it. */
  arrive(operation: Operation, windows: readonly RateWindow[]): void;
  /** Takes one request out of the fixed windows, or says how long they stay closed. */
  take(operation: Operation, windows: readonly RateWindow[]): Admission;
  violations(): readonly Violation[];
  violationCount(): number;
};

/** A ring of monotonic times, twice as long as the largest limit; `total` counts on. */
type Arrivals = { readonly times: number[]; total: number };
/** `index` numbers the windows from the start of the clock. */
type Fixed = { index: number; used: number };

/**
 * Klaviyo counts in fixed windows, so a sender may lawfully squeeze two windows' worth into a
 * moment at the border. A sender that means to be safe keeps every sliding window, which is what
 * the judge here looks at; it never refuses anything.
 */
export function createLimits(clock: Clock): Limits {
  const arrivals = new Map<string, Arrivals>();
  const fixed = new Map<string, Fixed[]>();
  const violations = createRing<Violation>(1000);

  return {
    arrive(operation, windows) {
      if (windows.length === 0) return;
      const size = 2 * Math.max(...windows.map((window) => window.limit)) + 1;
      const seen = arrivals.get(operation.name) ?? { times: [], total: 0 };
      arrivals.set(operation.name, seen);
      const now = clock.monotonic();
      seen.times[seen.total++ % size] = now;
      for (const window of windows) {
        const spanMs = now - ago(seen, window.limit, size);
        if (spanMs >= window.windowMs) continue;
        let count = window.limit + 1;
        while (count < 2 * window.limit && now - ago(seen, count, size) < window.windowMs) count++;
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

    take(operation, windows) {
      const now = clock.monotonic();
      const state = fixed.get(operation.name) ?? windows.map(() => ({ index: -1, used: 0 }));
      fixed.set(operation.name, state);
      const views = windows.map((window, position) => look(window, state[position], now));
      const closed = views.filter((view) => view.remaining <= 0);
      if (closed.length > 0) {
        const waitMs = Math.max(...closed.map((view) => view.resetMs));
        return { ok: false, retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) };
      }
      for (const one of state) one.used++;
      return { ok: true, headers: toHeaders(views) };
    },

    violations: () => violations.all(),
    violationCount: () => violations.total(),
  };
}

/** When the arrival `back` places before the newest one came; never is long ago. */
function ago(seen: Arrivals, back: number, size: number): number {
  if (back >= seen.total || back >= size) return -Infinity;
  return seen.times[(seen.total - 1 - back) % size] ?? -Infinity;
}

type View = { readonly window: RateWindow; readonly remaining: number; readonly resetMs: number };

/** Moves the window on when its time is over; `remaining` does not yet count this request. */
function look(window: RateWindow, state: Fixed | undefined, now: number): View {
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
 * `ratelimit-reset: 0`. The first number and the other two headers speak of the window nearest its limit.
 */
function toHeaders(views: readonly View[]): Readonly<Record<string, string>> {
  const [nearest] = [...views].sort(
    (a, b) => a.remaining - b.remaining || b.window.windowMs - a.window.windowMs,
  );
  if (nearest === undefined) return {};
  const all = views.map(({ window }) => `${window.limit};w=${window.windowMs / 1000}`);
  return {
    'ratelimit-limit': [String(nearest.window.limit), ...all].join(', '),
    'ratelimit-remaining': String(nearest.remaining - 1),
    'ratelimit-reset': String(Math.floor(nearest.resetMs / 1000)),
  };
}
