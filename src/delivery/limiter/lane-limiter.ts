import type { Lane } from '../../model/lane.js';
import { findSharedEndpoint, type Limiter } from '../../model/limiter.js';

/**
 * The limiter of one lane. Two lanes may send to one endpoint of Klaviyo, which counts the requests of both.
 * A request of the second lane then needs a permit of each. The lane's own permit comes first, so that none
 * of the other lane is held while this lane is paused. A pause applies to the lane alone.
 */
export function createLaneLimiter(limiter: Limiter, lane: Lane): Limiter {
  const shared = findSharedEndpoint(lane);
  if (shared === null) return limiter;
  return {
    async acquire(endpoint, signal) {
      const own = await limiter.acquire(endpoint, signal);
      if (own === null || endpoint !== lane) return own;
      const other = await limiter.acquire(shared, signal);
      if (other === null) {
        own.cancel();
        return null;
      }
      return {
        end(feedback) {
          own.end(feedback);
          other.end(feedback);
        },
        cancel() {
          own.cancel();
          other.cancel();
        },
      };
    },
    pause: (endpoint, forMs) => limiter.pause(endpoint, forMs),
    tokens: () => limiter.tokens(),
  };
}
