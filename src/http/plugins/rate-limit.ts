import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../../clock.js';
import { toQuotaKey } from './auth.js';
import { ProblemError } from './problems.js';

export type Counted = { readonly current: number; readonly ttlMs: number };

/** Counts a request of a caller in its window, over all relays. If it rejects, this relay counts for itself. */
export type CountShared = (caller: string) => Promise<Counted>;

/** Counts a request of a caller in the current window, and calls back with the count. */
export type CountCaller = (caller: string, callback: (counted: Counted) => void) => void;

type Quota = {
  readonly perSecond: number;
  readonly countCaller: CountCaller;
  /** The hook that counts a request. It must run after the caller is known. */
  readonly hook?: 'onRequest' | 'preValidation';
};

export const quotaWindowMs = 1000;

/**
 * Applies the quota of each caller to the routes of a scope. Scopes with the same `countCaller` share
 * the quotas. The scope's key check must run before.
 */
export async function limitCallers(
  app: FastifyInstance,
  { perSecond, countCaller, hook = 'onRequest' }: Quota,
): Promise<void> {
  await app.register(rateLimit, {
    max: perSecond,
    timeWindow: quotaWindowMs,
    hook,
    keyGenerator: toQuotaKey,
    enableDraftSpec: true,
    store: toWindowStore(countCaller),
    errorResponseBuilder: (_request, { max }) =>
      new ProblemError('over-quota', `each caller may send ${max} requests a second`),
  });
}

/**
 * Counts in windows that start for all callers at once, so that one `clear` ends them all and the map
 * never holds more callers than one window had requests.
 */
export function createCallerCount({
  clock,
  countShared,
}: {
  readonly clock: Clock;
  readonly countShared?: CountShared | undefined;
}): CountCaller {
  const counts = new Map<string, number>();
  let current = 0;
  const countHere = (caller: string): Counted => {
    const now = clock.monotonic();
    const window = Math.floor(now / quotaWindowMs);
    if (window !== current) counts.clear();
    current = window;
    const count = (counts.get(caller) ?? 0) + 1;
    counts.set(caller, count);
    return { current: count, ttlMs: (window + 1) * quotaWindowMs - now };
  };
  return (caller, callback) => {
    if (countShared === undefined) callback(countHere(caller));
    // If the shared count is unavailable, callers must not be rejected for it.
    else countShared(caller).then(callback, () => callback(countHere(caller)));
  };
}

function toWindowStore(countCaller: CountCaller) {
  return class WindowStore implements FastifyRateLimitStore {
    incr(
      key: string,
      callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
    ): void {
      countCaller(key, ({ current, ttlMs }) => callback(null, { current, ttl: ttlMs }));
    }

    child(): FastifyRateLimitStore {
      return this;
    }
  };
}
