/**
 * Reads of profiles and their lists, by Klaviyo's OpenAPI.
 */

import { readString } from './json.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { createNotFoundResponse } from './response.js';
import type { ApiResponse } from './response.js';
import { comparedTime, equalText, isMatch, oneOfTexts, strictlyComparedTime } from './filters.js';
import type { Condition } from './filters.js';
import type { List } from './lists.js';
import type { Profile } from './profiles.js';
import {
  inBothDirections,
  sortBy,
  respondWithEmptyPage,
  respondWithResource,
  respondWithPage,
  withQuery,
} from './query.js';
import type { QueryRules } from './query.js';
import { toListResource, toProfileResource } from './resources.js';
import type { Resource } from './resources.js';

export const profileReadOperations = defineOperations('profiles', {
  'GET /api/profiles': {
    name: 'get_profiles',
    tier: 'L',
    scopes: 'profiles:read',
    handle: getProfiles,
  },
  'GET /api/profiles/{id}': {
    name: 'get_profile',
    tier: 'L',
    scopes: 'profiles:read',
    handle: getProfile,
  },
  'GET /api/profiles/{id}/lists': {
    name: 'get_profile_lists',
    tier: 'S',
    scopes: 'lists:read profiles:read',
    handle: getProfileLists,
  },
  'GET /api/profiles/{id}/relationships/lists': {
    name: 'get_profile_list_ids',
    tier: 'S',
    scopes: 'lists:read profiles:read',
    handle: getProfileListIds,
  },
  'GET /api/profiles/{id}/segments': {
    name: 'get_none_of_profile',
    tier: 'S',
    scopes: 'profiles:read segments:read',
    handle: getNoneOfProfile,
  },
  'GET /api/profiles/{id}/relationships/segments': {
    name: 'get_none_of_profile',
    tier: 'S',
    scopes: 'profiles:read segments:read',
    handle: getNoneOfProfile,
  },
  'GET /api/profiles/{id}/push-tokens': {
    name: 'get_none_of_profile',
    tier: 'M',
    scopes: 'profiles:read',
    handle: getNoneOfProfile,
  },
  'GET /api/profiles/{id}/relationships/push-tokens': {
    name: 'get_none_of_profile',
    tier: 'M',
    scopes: 'profiles:read',
    handle: getNoneOfProfile,
  },
});

const listSuppression = 'subscriptions.email.marketing.list_suppressions';
const suppression = 'subscriptions.email.marketing.suppression';

const profileRules: QueryRules = {
  fields: ['profile', 'push-token', 'conversation'],
  additionalFields: 'profile',
  include: ['push-tokens', 'conversations'],
  filter: {
    id: oneOfTexts,
    email: oneOfTexts,
    phone_number: oneOfTexts,
    external_id: oneOfTexts,
    _kx: equalText,
    created: strictlyComparedTime,
    updated: strictlyComparedTime,
    [`${listSuppression}.reason`]: equalText,
    [`${listSuppression}.timestamp`]: comparedTime,
    [`${listSuppression}.list_id`]: equalText,
    [`${suppression}.reason`]: equalText,
    [`${suppression}.timestamp`]: comparedTime,
  },
  sort: inBothDirections(
    'created',
    'email',
    'id',
    'updated',
    `${listSuppression}.timestamp`,
    `${suppression}.timestamp`,
  ),
  maxPageSize: 100,
};

function getProfiles(call: Call): ApiResponse {
  const { url, account } = call;
  return withQuery(call, profileRules, (query) => {
    const found = [...account.profiles.all()].filter((profile) => isFound(profile, query.filter));
    const sorted = sortBy(
      found,
      query.sort,
      (profile, field) => getProfileValue(profile, field) ?? '',
    );
    return respondWithPage(sorted, {
      query,
      url,
      toResource: (one) => toProfileResource(one, call),
    });
  });
}

/** One suppression must meet all conditions on suppressions. */
function isFound(profile: Profile, conditions: readonly Condition[]): boolean {
  const { suppressions, listSuppressions } = profile.consent;
  const own: Condition[] = [];
  const ofSuppression: Condition[] = [];
  const ofListSuppression: Condition[] = [];
  for (const condition of conditions) {
    const { field } = condition;
    if (field.startsWith(`${suppression}.`)) ofSuppression.push(condition);
    else if (field.startsWith(`${listSuppression}.`)) ofListSuppression.push(condition);
    else own.push(condition);
  }
  return (
    isMatch(own, (field) => getProfileValue(profile, field)) &&
    (ofSuppression.length === 0 ||
      suppressions.some((one) =>
        isMatch(ofSuppression, (field) => (field.endsWith('.reason') ? one.reason : one.at)),
      )) &&
    (ofListSuppression.length === 0 ||
      listSuppressions.some((one) =>
        isMatch(ofListSuppression, (field) => {
          if (field.endsWith('.list_id')) return one.listId;
          return field.endsWith('.reason') ? one.reason : one.at;
        }),
      ))
  );
}

function getProfileValue(profile: Profile, field: string): string | number | undefined {
  switch (field) {
    case 'id':
      return profile.id;
    case 'created':
      return profile.createdAt;
    case 'updated':
      return profile.updatedAt;
    case `${suppression}.timestamp`:
      return profile.consent.suppressions.at(-1)?.at;
    case `${listSuppression}.timestamp`:
      return profile.consent.listSuppressions.at(-1)?.at;
    default:
      return readString(profile.attributes[field]);
  }
}

function getProfile(call: Call): ApiResponse {
  const { url } = call;
  const rules = {
    fields: ['profile', 'list', 'segment', 'push-token', 'conversation'],
    additionalFields: 'profile',
    include: ['lists', 'segments', 'push-tokens', 'conversations'],
  };
  return withQuery(call, rules, (query) =>
    withProfile(call, (profile) => {
      const lists = query.include.includes('lists') ? call.account.lists.ofProfile(profile) : [];
      const included = lists.map((list) => toListResource(list, url));
      return respondWithResource(toProfileResource(profile, call), query, included);
    }),
  );
}

function getProfileLists(call: Call): ApiResponse {
  return respondWithProfileLists(call, { fields: ['list'] });
}

function getProfileListIds(call: Call): ApiResponse {
  return respondWithProfileLists(call, { fields: [], identifiersOnly: true });
}

function respondWithProfileLists(
  call: Call,
  { fields, identifiersOnly = false }: { fields: readonly string[]; identifiersOnly?: boolean },
): ApiResponse {
  const { url } = call;
  return withQuery(call, { fields }, (query) =>
    withProfile(call, (profile) => {
      const toResource = (list: List): Resource => toListResource(list, url);
      return respondWithPage(call.account.lists.ofProfile(profile), {
        query,
        url,
        toResource,
        identifiersOnly,
      });
    }),
  );
}

/** Always empty: the sandbox has no segments and no push tokens. */
function getNoneOfProfile(call: Call): ApiResponse {
  return withQuery(call, { fields: ['segment', 'push-token'] }, (query) =>
    withProfile(call, () => respondWithEmptyPage(query, call.url)),
  );
}

function withProfile(
  { account, id }: Call,
  respond: (profile: Profile) => ApiResponse,
): ApiResponse {
  const profile = account.profiles.get(id);
  return profile === undefined
    ? createNotFoundResponse(`A profile with id ${id} does not exist.`)
    : respond(profile);
}
