import {
  lanes,
  type Delivery,
  type DeliveryFilter,
  type Page,
  type PageQuery,
} from '../envelope.js';
import type { OwnLimiter } from './limiter.js';

export type RecallOptions = {
  readonly limiter: Pick<OwnLimiter, 'recall'>;
  readonly log: { deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>> };
  /** Epoch ms. */
  readonly now: number;
  /** Older requests are in no window any more. */
  readonly longestWindowMs: number;
  /** Longest time from a request's start to its end. */
  readonly timeoutMs: number;
  /** Requests that may have been in flight when the process before ended: the log does not know them. */
  readonly unknown: number;
};

const pageSize = 1000;

/**
 * A restart empties the relay's windows, not Klaviyo's. What the delivery log knows of the last
 * minute is put back, and where it knows of any, as many as may have been in flight.
 */
export async function recallRequests(options: RecallOptions): Promise<void> {
  const { limiter, log, now, longestWindowMs, timeoutMs, unknown } = options;
  const since = now - longestWindowMs - timeoutMs;
  for (const lane of lanes) {
    let found = 0;
    let cursor: string | null | undefined;
    do {
      const page = await log.deliveries(
        { lane, since },
        { limit: pageSize, cursor: cursor ?? undefined },
      );
      for (const { at, durationMs } of page.data) {
        // A wall clock that was set back since must not put a request into the future.
        limiter.recall(lane, Math.max(0, now - at - durationMs));
      }
      found += page.data.length;
      cursor = page.next;
    } while (cursor !== null);
    if (found > 0) for (let each = 0; each < unknown; each++) limiter.recall(lane, 0);
  }
}
