import { createPersonBody, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: request_profile_deletion. It takes an e-mail address, a phone number or Klaviyo's own
 * id of a profile, and deletes every profile that matches. The client looks up that id for an external id
 * (erasures.ts).
 */
export const erase = {
  path: '/api/data-privacy-deletion-jobs',
  scopes: ['data-privacy:write'],
  isOptional: true,
  body: createPersonBody('data-privacy-deletion-job', 'profile'),
  success: 'empty',
  settings: {
    prefix: 'ERASE',
    noun: 'erasures',
    maxCount: 1,
    rateWindows: '3/1s,60/60s',
    limited: 'deletions of profiles',
  },
} as const satisfies LaneApi;
