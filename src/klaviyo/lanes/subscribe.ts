import { createSubscriptionBody, hasWhatsApp, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: bulk_subscribe_profiles. A request subscribes to one list, or to none, and is either
 * historical as a whole or not at all.
 */
export const subscribe = {
  path: '/api/profile-subscription-bulk-create-jobs',
  scopes: ['subscriptions:write', 'profiles:write', 'lists:write'],
  isOptional: true,
  body: createSubscriptionBody('profile-subscription-bulk-create-job'),
  success: 'empty',
  needsNewRevision: hasWhatsApp,
  settings: {
    prefix: 'SUBSCRIBE',
    noun: 'subscriptions',
    maxCount: 1000,
    rateWindows: '75/1s,700/60s',
    limited: 'subscriptions',
  },
} as const satisfies LaneApi;
