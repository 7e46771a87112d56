import type { Draft } from '../model/envelope.js';
import { toGroupedPayload } from '../model/group.js';
import type { Issue } from '../model/outcome.js';
import type { Identifiers } from '../identity-keys.js';
import { toProfileKeys } from './identity.js';
import { toIdentifierAttributes } from './map.js';
import type { PostedProfile } from './schema.js';
import { capIssues } from './validation.js';

/**
 * Drafts what a posted profile says about lists: one draft for each list, with the identifiers of the
 * person. They come beside the draft of the profile, and wait for it (`after` in model/lane.ts).
 */
export function draftListMembers(
  { lists, remove_from_lists: left }: PostedProfile,
  identifiers: Identifiers,
  acceptedAt: number,
): readonly Draft[] {
  if ((lists ?? left ?? null) === null) return [];
  const keys = toProfileKeys(identifiers);
  const element = JSON.stringify({
    type: 'profile',
    attributes: toIdentifierAttributes(identifiers),
  });
  const draft = (lane: Draft['lane'], ids: readonly string[]): readonly Draft[] =>
    [...new Set(ids)].map((listId) => ({
      lane,
      keys,
      acceptedAt,
      payload: Buffer.from(toGroupedPayload(listId, element, acceptedAt)),
    }));
  return [...draft('add_to_list', lists ?? []), ...draft('remove_from_list', left ?? [])];
}

/** Finds the lists that the person would both join and leave. */
export function findListIssues({
  lists,
  remove_from_lists: left,
}: PostedProfile): readonly Issue[] {
  const joined = new Set(lists);
  const issues = (left ?? []).flatMap((id, index) =>
    joined.has(id) ? [{ pointer: `/remove_from_lists/${index}`, detail: 'is also in lists' }] : [],
  );
  return capIssues(issues);
}
