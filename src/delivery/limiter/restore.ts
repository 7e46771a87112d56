import type { Clock } from '../../clock.js';
import { lanes } from '../../model/lane.js';
import type { Delivery, DeliveryFilter, UnfinishedImportJob } from '../../model/delivery.js';
import type { Page, PageQuery } from '../../model/store.js';
import { toRemainingMs } from '../requested-pause.js';
import type { LocalLimiter } from './limiter.js';

type Log = { deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>> };

export type RestoreRequestsOptions = {
  readonly limiter: Pick<LocalLimiter, 'restoreRequest'>;
  readonly log: Log;
  /** Epoch ms. */
  readonly now: number;
  /** Older requests are in no window any more. */
  readonly longestWindowMs: number;
  /** The largest limit of a window: of more requests the newest alone count. */
  readonly mostPerWindow: number;
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
export async function restoreRequests(options: RestoreRequestsOptions): Promise<void> {
  const { limiter, log, now, longestWindowMs, mostPerWindow, timeoutMs, unknown } = options;
  const since = now - longestWindowMs - timeoutMs;
  for (const lane of lanes) {
    let found = 0;
    let cursor: string | null | undefined;
    do {
      const page = await log.deliveries(
        { lane, since },
        { limit: Math.min(pageSize, mostPerWindow - found), cursor: cursor ?? undefined },
      );
      for (const { at, durationMs } of page.data) {
        // A wall clock that was set back since must not put a request into the future.
        limiter.restoreRequest(lane, Math.max(0, now - at - durationMs));
      }
      found += page.data.length;
      cursor = page.next;
    } while (cursor !== null && found < mostPerWindow);
    if (found > 0) for (let each = 0; each < unknown; each++) limiter.restoreRequest(lane, 0);
  }
}

export type RestorePausesOptions = {
  readonly limiter: Pick<LocalLimiter, 'pause'>;
  readonly store: Log & { unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]> };
  readonly clock: Clock;
  /** Requests of a lane that may be in flight at once. */
  readonly concurrency: number;
};

/**
 * Goes on with the pauses that Klaviyo asked an earlier process for. A lane sends nothing during its
 * pause, so only requests that were in flight beside it can follow in the log: a pause further back is
 * over, whatever the wall clock says.
 */
export async function restorePauses(options: RestorePausesOptions): Promise<void> {
  const { limiter, store, clock, concurrency } = options;
  for (const lane of lanes) {
    const newest = await store.deliveries({ lane }, { limit: concurrency });
    for (const { pause } of newest.data)
      if (pause !== undefined) limiter.pause(lane, toRemainingMs(pause, clock));
  }
  for (const { delivery } of await store.unfinishedImportJobs()) {
    const pause = delivery.following?.pause;
    if (pause !== undefined) limiter.pause('imports', toRemainingMs(pause, clock));
  }
}
