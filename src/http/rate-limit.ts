import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../clock.js';
import { toQuotaKey } from './auth.js';
import { ProblemError } from './problems.js';

type Quota = { readonly perSecond: number; readonly clock: Clock };

const windowMs = 1000;

/** Every route of this scope counts against one quota per caller. The scope's key check comes first. */
export async function limitCallers(
  app: FastifyInstance,
  { perSecond, clock }: Quota,
): Promise<void> {
  await app.register(rateLimit, {
    max: perSecond,
    timeWindow: windowMs,
    keyGenerator: toQuotaKey,
    enableDraftSpec: true,
    store: toWindowStore(clock),
    errorResponseBuilder: (_request, { max }) =>
      new ProblemError('over-quota', `each caller may send ${max} requests a second`),
  });
}

/**
 * Counts in windows that start for all callers at once, so that one `clear` forgets them all and the
 * map never holds more callers than one window had requests. A store on Redis takes its place where
 * several relays share a quota.
 */
function toWindowStore(clock: Clock) {
  return class WindowStore implements FastifyRateLimitStore {
    readonly #counts = new Map<string, number>();
    #window = 0;

    incr(
      key: string,
      callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
    ): void {
      const now = clock.monotonic();
      const window = Math.floor(now / windowMs);
      if (window !== this.#window) this.#counts.clear();
      this.#window = window;
      const current = (this.#counts.get(key) ?? 0) + 1;
      this.#counts.set(key, current);
      callback(null, { current, ttl: (window + 1) * windowMs - now });
    }

    child(): FastifyRateLimitStore {
      return this;
    }
  };
}
