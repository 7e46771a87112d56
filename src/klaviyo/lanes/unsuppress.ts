import { createBulkBody, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: bulk_unsuppress_profiles. It lifts only suppressions that a user or an integration
 * of the account set, and skips every other address.
 */
export const unsuppress = {
  path: '/api/profile-suppression-bulk-delete-jobs',
  scopes: ['subscriptions:write'],
  pollScopes: ['subscriptions:read'],
  isOptional: true,
  body: createBulkBody('profile-suppression-bulk-delete-job', 'profiles'),
  success: 'counting-job',
  settings: {
    prefix: 'UNSUPPRESS',
    noun: 'unsuppressions',
    maxCount: 100,
    rateWindows: '75/1s,700/60s',
    limited: 'unsuppressions, and for polls of their jobs',
  },
} as const satisfies LaneApi;
