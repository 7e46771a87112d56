import { createBulkBody, type LaneApi } from './lane.js';

/** Klaviyo's OpenAPI: bulk_import_profiles. The polls of import jobs have the same rate windows. */
export const profiles = {
  path: '/api/profile-bulk-import-jobs',
  scopes: ['profiles:write', 'lists:write'],
  pollScopes: ['profiles:read', 'lists:read'],
  body: createBulkBody('profile-bulk-import-job', 'profiles'),
  success: 'import-job',
  settings: {
    prefix: 'PROFILE',
    noun: 'profiles',
    maxCount: 10_000,
    rateWindows: '10/1s,150/60s',
    limited: 'bulk profile imports, and for polls of their jobs',
  },
} as const satisfies LaneApi;
