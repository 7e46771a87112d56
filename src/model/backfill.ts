import type { StoreLane } from './lane.js';

/**
 * Klaviyo records an event with `backfill: true` and triggers no flow with it. In a stored payload it is
 * the last member of the event's attributes, so that the last bytes show it: without it they are those
 * of the metric. Neither is what a caller posted.
 */
export const backfillMember = ',"backfill":true';
/** What follows the attributes of the one event in an element of a bulk request. */
export const eventEnd = '}}]}}}';

const backfilledEnd = Buffer.from(backfillMember + eventEnd);

/** Returns true if the payload is a backfilled event. That of a profile may end with any bytes. */
export function isBackfilled(lane: StoreLane, payload: Uint8Array): boolean {
  return lane === 'events' && backfilledEnd.equals(payload.subarray(-backfilledEnd.length));
}
