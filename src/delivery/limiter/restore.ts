import type { Clock } from '../../clock.js';
import { lanes } from '../../model/lane.js';
import { findSharedEndpoint, toPollEndpoint } from '../../model/limiter.js';
import type {
  Delivery,
  DeliveryFilter,
  RequestedPause,
  UnfinishedImportJob,
} from '../../model/delivery.js';
import type { Page, PageQuery } from '../../model/store.js';
import type { LocalLimiter } from './limiter.js';

/**
 * What a limiter takes over from an earlier process. A restart empties the relay's rate windows, but not
 * Klaviyo's, and it must not shorten a pause that Klaviyo requested. The delivery log has both.
 */
type Log = { deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>> };

export type RestoreRequestsOptions = {
  readonly limiter: Pick<LocalLimiter, 'addEndedRequests'>;
  readonly log: Log;
  /** Epoch ms. */
  readonly now: number;
  /** Older requests are in no window any more. */
  readonly longestWindowMs: number;
  /** The largest limit of a window. If there are more requests, only the newest count. */
  readonly mostPerWindow: number;
  /** The longest time from a request's start to its end. */
  readonly timeoutMs: number;
  /** Requests that may have been in flight when the earlier process ended. The log does not have them. */
  readonly unknown: number;
};

const pageSize = 1000;

/**
 * Charges the limiter with the requests that an earlier process made within the longest rate window, as
 * the delivery log has them. If the log has any, the limiter is also charged with the number of requests
 * that may have been in flight when that process ended.
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
      // A wall clock that was set back must not move a request into the future.
      const endedAgoMs = page.data
        .filter(({ result }) => result !== 'unchanged')
        .map(({ at, durationMs }) => Math.max(0, now - at - durationMs));
      limiter.addEndedRequests(lane, endedAgoMs);
      const shared = findSharedEndpoint(lane);
      if (shared !== null) limiter.addEndedRequests(shared, endedAgoMs);
      found += endedAgoMs.length;
      cursor = page.next;
    } while (cursor !== null && found < mostPerWindow);
    if (found > 0) limiter.addEndedRequests(lane, Array<number>(unknown).fill(0));
  }
}

export type RestorePausesOptions = {
  readonly limiter: Pick<LocalLimiter, 'pause'>;
  readonly store: Log & { unfinishedImportJobs(): Promise<readonly UnfinishedImportJob[]> };
  readonly clock: Clock;
  /** The maximum of requests of a lane in flight. */
  readonly concurrency: number;
};

/**
 * Continues the pauses that Klaviyo requested. A lane sends nothing during its pause, so only requests
 * that were in flight at the same time can follow it in the log. A pause that is further back is over,
 * whatever the wall clock says.
 */
export async function restorePauses(options: RestorePausesOptions): Promise<void> {
  const { limiter, store, clock, concurrency } = options;
  for (const lane of lanes) {
    const newest = await store.deliveries({ lane }, { limit: concurrency });
    for (const { pause } of newest.data)
      if (pause !== undefined) limiter.pause(lane, toRemainingMs(pause, clock));
  }
  for (const { lane, delivery } of await store.unfinishedImportJobs()) {
    const pause = delivery.following?.pause;
    if (pause !== undefined) limiter.pause(toPollEndpoint(lane), toRemainingMs(pause, clock));
  }
}

/** A pause that begins now, in the form in which the log keeps it. */
export function toRequestedPause(clock: Clock, forMs: number): RequestedPause {
  const uptime = clock.uptime?.() ?? null;
  return { at: clock.now(), forMs, ...(uptime !== null && { uptime }) };
}

/**
 * The rest of a pause. Within one boot of the machine it is exact. After a reboot, or on another machine,
 * only the wall clock is left; if it was set back, the whole pause remains.
 */
function toRemainingMs({ at, forMs, uptime }: RequestedPause, clock: Clock): number {
  const now = clock.uptime?.() ?? null;
  const isSameBoot = uptime !== undefined && now !== null && uptime.boot === now.boot;
  const elapsedMs = isSameBoot ? now.ms - uptime.ms : clock.now() - at;
  return Math.min(forMs, Math.max(0, forMs - elapsedMs));
}
