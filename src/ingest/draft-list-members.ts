import type { Draft } from '../model/envelope.js';
import { toGroupedPayload } from '../model/group.js';
import type { Identifiers } from '../identity-keys.js';
import { toProfileKeys } from './identity.js';
import { toIdentifierAttributes } from './map.js';
import type { PostedProfile } from './schema.js';

/**
 * Drafts what a posted profile says about lists: one draft for each list, with the identifiers of the
 * person. They come beside the draft of the profile, and wait for it (`after` in model/lane.ts).
 */
export function draftListMembers(
  { lists }: PostedProfile,
  identifiers: Identifiers,
  acceptedAt: number,
): readonly Draft[] {
  if (lists === undefined || lists === null) return [];
  const keys = toProfileKeys(identifiers);
  const element = JSON.stringify({
    type: 'profile',
    attributes: toIdentifierAttributes(identifiers),
  });
  return [...new Set(lists)].map((listId) => ({
    lane: 'add_to_list',
    keys,
    acceptedAt,
    payload: Buffer.from(toGroupedPayload(listId, element, acceptedAt)),
  }));
}
