import { createSubscriptionBody, hasWhatsApp, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: bulk_unsubscribe_profiles. A request names one list, or none. Klaviyo unsubscribes a
 * profile that is not in the named list from everything.
 */
export const unsubscribe = {
  path: '/api/profile-subscription-bulk-delete-jobs',
  scopes: ['subscriptions:write', 'profiles:write', 'lists:write'],
  isOptional: true,
  body: createSubscriptionBody('profile-subscription-bulk-delete-job'),
  success: 'empty',
  needsNewRevision: hasWhatsApp,
  settings: {
    prefix: 'UNSUBSCRIBE',
    noun: 'unsubscriptions',
    maxCount: 100,
    rateWindows: '75/1s,700/60s',
    limited: 'unsubscriptions',
  },
} as const satisfies LaneApi;
