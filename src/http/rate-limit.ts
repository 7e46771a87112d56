import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../clock.js';
import { toQuotaKey } from './auth.js';
import { ProblemError } from './problems.js';

export type Counted = { readonly current: number; readonly ttlMs: number };

/** Counts a request of a caller in its window, over all relays. Where it rejects, this relay counts by itself. */
export type CountShared = (caller: string) => Promise<Counted>;

type Quota = {
  readonly perSecond: number;
  readonly clock: Clock;
  readonly countShared: CountShared | undefined;
};

export const quotaWindowMs = 1000;

/** Every route of this scope counts against one quota per caller. The scope's key check comes first. */
export async function limitCallers(
  app: FastifyInstance,
  { perSecond, clock, countShared }: Quota,
): Promise<void> {
  await app.register(rateLimit, {
    max: perSecond,
    timeWindow: quotaWindowMs,
    keyGenerator: toQuotaKey,
    enableDraftSpec: true,
    store: toWindowStore(clock, countShared),
    errorResponseBuilder: (_request, { max }) =>
      new ProblemError('over-quota', `each caller may send ${max} requests a second`),
  });
}

/**
 * Counts in windows that start for all callers at once, so that one `clear` forgets them all and the
 * map never holds more callers than one window had requests.
 */
function toWindowStore(clock: Clock, countShared: CountShared | undefined) {
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
  return class WindowStore implements FastifyRateLimitStore {
    incr(
      key: string,
      callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
    ): void {
      const answer = ({ current: count, ttlMs }: Counted): void =>
        callback(null, { current: count, ttl: ttlMs });
      if (countShared === undefined) answer(countHere(key));
      // A quota that cannot be asked must not refuse everybody.
      else countShared(key).then(answer, () => answer(countHere(key)));
    }

    child(): FastifyRateLimitStore {
      return this;
    }
  };
}
