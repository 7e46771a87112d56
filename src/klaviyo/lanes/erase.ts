import { isRecord, tryParseJson, type FoundProfile } from '../documents.js';
import { createPersonBody, type LaneApi } from './lane.js';
import { toProfilePaths } from './profile-paths.js';

/**
 * Klaviyo's OpenAPI: request_profile_deletion. It takes an e-mail address, a phone number or Klaviyo's own
 * id of a profile, and deletes every profile that matches. For an external id, the profile is looked up.
 * The look-up counts within Klaviyo's limit for reads of profiles. It is higher than the limit for deletions,
 * so the permit of the deletion is enough.
 */
export const erase = {
  path: '/api/data-privacy-deletion-jobs',
  scopes: ['data-privacy:write'],
  lookUp: { scopes: ['profiles:read'], toPaths: toErasurePaths, toElements: toErasureElements },
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

function toErasurePaths(payloads: readonly Uint8Array[]): readonly string[] {
  const ids = payloads.flatMap((payload) => readExternalId(payload) ?? []);
  return toProfilePaths('external_id', ids, ['external_id']);
}

/** A request has one payload. */
function toErasureElements(
  payloads: readonly Uint8Array[],
  profiles: readonly FoundProfile[],
): readonly (readonly string[])[] {
  const elements = profiles
    .slice(0, 1)
    .map(({ id }) => JSON.stringify({ type: 'profile', id, attributes: {} }));
  return payloads.map(() => elements);
}

function readExternalId(payload: Uint8Array): string | undefined {
  const element = tryParseJson(Buffer.from(payload).toString());
  const attributes = isRecord(element) ? element.attributes : undefined;
  const id = isRecord(attributes) ? attributes.external_id : undefined;
  return typeof id === 'string' ? id : undefined;
}
