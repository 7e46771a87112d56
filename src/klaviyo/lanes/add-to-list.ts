import { createListImportBody, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: bulk_import_profiles, with the list as a relationship. The elements have identifiers
 * alone, so that no attribute is written twice or out of order. It is the endpoint of the lane `profiles`
 * and counts within its rate windows, too.
 */
export const addToList = {
  path: '/api/profile-bulk-import-jobs',
  scopes: ['profiles:write', 'lists:write'],
  pollScopes: ['profiles:read', 'lists:read'],
  isOptional: true,
  body: createListImportBody('profile-bulk-import-job'),
  success: 'import-job',
  settings: {
    prefix: 'ADD_TO_LIST',
    noun: 'additions to lists',
    maxCount: 10_000,
    rateWindows: '10/1s,150/60s',
    limited: 'additions to lists, which also count within PROFILE_RATE_WINDOWS',
  },
} as const satisfies LaneApi;
