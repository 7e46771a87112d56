/**
 * `POST` and `DELETE /api/lists/{id}/relationships/profiles`, by Klaviyo's OpenAPI. Membership of a
 * list does not change the consent of a profile.
 */

import { z } from 'zod';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { toJsonPointer } from './issues.js';
import type { List } from './lists.js';
import type { Profile } from './profiles.js';
import { withQuery } from './query.js';
import { parseFrame } from './request-body.js';
import { createErrorResponse, createNotFoundResponse, createTooManyResponse } from './response.js';
import type { ApiError, ApiResponse } from './response.js';

export const listMemberOperations = defineOperations('list-members', {
  'POST /api/lists/{id}/relationships/profiles': {
    name: 'add_profiles_to_list',
    tier: 'M',
    scopes: 'lists:write profiles:write',
    handle: addProfilesToList,
  },
  'DELETE /api/lists/{id}/relationships/profiles': {
    name: 'remove_profiles_from_list',
    tier: 'M',
    scopes: 'lists:write profiles:write',
    handle: removeProfilesFromList,
  },
});

/** Klaviyo's limit for one request. */
const maxMembers = 1000;

const memberFrame = z.strictObject({
  data: z.array(z.strictObject({ type: z.literal('profile'), id: z.string().min(1) })).min(1),
});

/** JSON:API requires a 404 for a resource that does not exist. Klaviyo's text is not known. */
function addProfilesToList(call: Call): ApiResponse {
  return withMembers(call, ({ list, found, missing }) => {
    if (missing.length > 0) return createErrorResponse(404, missing);
    call.account.lists.add(list.id, found, call.now);
    return { status: 204 };
  });
}

/** A profile that is no member, or does not exist, changes nothing (JSON:API 1.0). */
function removeProfilesFromList(call: Call): ApiResponse {
  return withMembers(call, ({ list, found }) => {
    call.account.lists.remove(list.id, found, call.now);
    return { status: 204 };
  });
}

type Members = {
  readonly list: List;
  readonly found: readonly Profile[];
  /** One error for each id that does not exist. */
  readonly missing: readonly ApiError[];
};

/** Checks the body, finds the list and its profiles, and passes them to `respond`. */
function withMembers(call: Call, respond: (members: Members) => ApiResponse): ApiResponse {
  const { account, id } = call;
  const framed = parseFrame(call.json, memberFrame, 'list');
  if ('invalid' in framed) return framed.invalid;
  const ids = framed.frame.data.map((member) => member.id);
  const count = ids.length;
  if (count > maxMembers) {
    return createTooManyResponse({ noun: 'profiles', max: maxMembers, count, pointer: '/data' });
  }
  return withQuery(call, { fields: [] }, () => {
    const list = account.lists.get(id);
    if (list === undefined) {
      return { ...createNotFoundResponse(`A list with id ${id} does not exist.`), count };
    }
    const found: Profile[] = [];
    const missing: ApiError[] = [];
    for (const [index, profileId] of ids.entries()) {
      const [profile] = account.profiles.find(profileId, {});
      if (profile !== undefined) found.push(profile);
      else missing.push(createMissingProfileError(profileId, index));
    }
    return { ...respond({ list, found, missing }), count };
  });
}

function createMissingProfileError(id: string, index: number): ApiError {
  return {
    code: 'not_found',
    title: 'Not found.',
    detail: `A profile with id ${id} does not exist.`,
    source: { pointer: toJsonPointer(['data', index, 'id']) },
  };
}
