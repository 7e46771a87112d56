import type { StoreLane } from './lane.js';

/**
 * Klaviyo records an event with `backfill: true` and triggers no flow with it. In a stored payload the
 * member is the last one of the event's attributes. The last bytes of a payload therefore show whether
 * the event is backfilled, and a caller cannot produce them: they lie outside of what a caller posts.
 */
export const backfillMember = ',"backfill":true';
/** What follows the attributes of the one event in an element of a bulk request. */
export const eventEnd = '}}]}}}';

const backfilledEnd = Buffer.from(backfillMember + eventEnd);

/** Returns true if the payload is a backfilled event. */
export function isBackfilled(lane: StoreLane, payload: Uint8Array): boolean {
  return lane === 'events' && backfilledEnd.equals(payload.subarray(-backfilledEnd.length));
}
