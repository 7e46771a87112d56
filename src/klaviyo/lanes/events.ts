import { createBulkBody, type LaneApi } from './lane.js';

/** Klaviyo's OpenAPI: bulk_create_events. The client sends backfilled events under a newer revision. */
export const events = {
  path: '/api/event-bulk-create-jobs',
  scopes: ['events:write'],
  body: createBulkBody('event-bulk-create-job', 'events-bulk-create'),
  success: 'empty',
  settings: {
    prefix: 'EVENT',
    noun: 'events',
    maxCount: 1000,
    rateWindows: '10/1s,150/60s',
    limited: 'bulk events; `off` leaves only the token bucket',
  },
} as const satisfies LaneApi;
