import { createBulkBody, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: bulk_suppress_profiles. Suppressed addresses receive no marketing by e-mail, whatever
 * the consent is. Klaviyo creates a profile for an address that it does not know.
 */
export const suppress = {
  path: '/api/profile-suppression-bulk-create-jobs',
  scopes: ['subscriptions:write', 'profiles:write'],
  pollScopes: ['subscriptions:read'],
  isOptional: true,
  body: createBulkBody('profile-suppression-bulk-create-job', 'profiles'),
  success: 'counting-job',
  settings: {
    prefix: 'SUPPRESS',
    noun: 'suppressions',
    maxCount: 100,
    rateWindows: '75/1s,700/60s',
    limited: 'suppressions, and for polls of their jobs',
  },
} as const satisfies LaneApi;
