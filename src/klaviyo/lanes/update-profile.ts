import { createSingleBody, type LaneApi } from './lane.js';

/**
 * Klaviyo's OpenAPI: create_or_update_profile. Only this endpoint clears fields and changes lists in
 * custom properties (`meta.patch_properties`). It takes one profile.
 */
export const updateProfile = {
  path: '/api/profile-import',
  scopes: ['profiles:write'],
  isOptional: true,
  body: createSingleBody('profile'),
  success: 'resource',
  settings: {
    prefix: 'UPDATE_PROFILE',
    noun: 'exact profile updates',
    maxCount: 1,
    rateWindows: '75/1s,700/60s',
    limited: 'exact profile updates',
  },
} as const satisfies LaneApi;
