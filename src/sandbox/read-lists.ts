/**
 * Reads of lists and their profiles, by Klaviyo's OpenAPI.
 */

import { readString } from './json.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { createNotFoundResponse } from './response.js';
import type { ApiResponse } from './response.js';
import { comparedTime, equalText, isMatch, oneOfTexts } from './filters.js';
import type { FilterField } from './filters.js';
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
import { toListResource, toProfileResource } from './resources.js';
import type { Resource } from './resources.js';

export const listOperations = defineOperations('lists', {
  'GET /api/lists': { name: 'get_lists', tier: 'L', scopes: 'lists:read', handle: getLists },
  'GET /api/lists/{id}': { name: 'get_list', tier: 'L', scopes: 'lists:read', handle: getList },
  'GET /api/lists/{id}/profiles': {
    name: 'get_list_profiles',
    tier: 'L',
    scopes: 'lists:read profiles:read',
    handle: getListProfiles,
  },
  'GET /api/lists/{id}/relationships/profiles': {
    name: 'get_list_profile_ids',
    tier: 'L',
    scopes: 'lists:read profiles:read',
    handle: getListProfileIds,
  },
  'GET /api/lists/{id}/tags': {
    name: 'get_none_of_list',
    tier: 'S',
    scopes: 'lists:read tags:read',
    handle: getNoneOfList,
  },
  'GET /api/lists/{id}/relationships/tags': {
    name: 'get_none_of_list',
    tier: 'S',
    scopes: 'lists:read tags:read',
    handle: getNoneOfList,
  },
  'GET /api/lists/{id}/flow-triggers': {
    name: 'get_none_of_list',
    tier: 'S',
    scopes: 'flows:read lists:read',
    handle: getNoneOfList,
  },
  'GET /api/lists/{id}/relationships/flow-triggers': {
    name: 'get_none_of_list',
    tier: 'S',
    scopes: 'flows:read lists:read',
    handle: getNoneOfList,
  },
});

const includedInLists = { fields: ['list', 'tag', 'flow'], include: ['tags', 'flow-triggers'] };
const later: FilterField = { type: 'time', operators: ['greater-than'] };

function getLists(call: Call): ApiResponse {
  const { url, account, revision } = call;
  const rules = {
    ...includedInLists,
    filter: { name: oneOfTexts, id: oneOfTexts, created: later, updated: later },
    sort: inBothDirections('created', 'id', 'name', 'updated'),
    pageSize: 10,
    ...(revision.pagesListsBySize && { maxPageSize: 10 }),
  };
  return withQuery(call, rules, (query) => {
    const found = account.lists
      .all()
      .filter((list) => isMatch(query.filter, (field) => getListValue(list, field)));
    const sorted = sortBy(found, query.sort, getListValue);
    return respondWithPage(sorted, { query, url, toResource: (list) => toListResource(list, url) });
  });
}

function getListValue(list: List, field: string): string | number {
  if (field === 'created') return list.createdAt;
  if (field === 'updated') return list.updatedAt;
  return field === 'name' ? list.name : list.id;
}

function getList(call: Call): ApiResponse {
  const rules = { ...includedInLists, additionalFields: 'list' };
  return withQuery(call, rules, (query) =>
    withList(call, (list) => respondWithResource(toListResource(list, call.url), query)),
  );
}

function getListProfiles(call: Call): ApiResponse {
  return respondWithListProfiles(call, { identifiersOnly: false });
}

function getListProfileIds(call: Call): ApiResponse {
  return respondWithListProfiles(call, { identifiersOnly: true });
}

type Member = { readonly profile: Profile; readonly joinedAt: number };

function respondWithListProfiles(
  call: Call,
  { identifiersOnly }: { identifiersOnly: boolean },
): ApiResponse {
  const { url } = call;
  const rules = {
    fields: identifiersOnly ? [] : ['profile'],
    ...(identifiersOnly ? {} : { additionalFields: 'profile' }),
    filter: {
      email: oneOfTexts,
      phone_number: oneOfTexts,
      push_token: oneOfTexts,
      _kx: equalText,
      joined_group_at: comparedTime,
    },
    sort: inBothDirections('joined_group_at'),
    maxPageSize: 100,
  };
  return withQuery(call, rules, (query) =>
    withList(call, (list) => {
      const members = Array.from(list.members, ([profile, joinedAt]) => ({ profile, joinedAt }));
      const found = members.filter(({ profile, joinedAt }) =>
        isMatch(query.filter, (field) =>
          field === 'joined_group_at' ? joinedAt : readString(profile.attributes[field]),
        ),
      );
      const sorted = sortBy(found, query.sort, ({ joinedAt }) => joinedAt);
      const toResource = ({ profile }: Member): Resource => toProfileResource(profile, call);
      return respondWithPage(sorted, { query, url, toResource, identifiersOnly });
    }),
  );
}

/** Always empty: the sandbox has no tags and no flows. */
function getNoneOfList(call: Call): ApiResponse {
  return withQuery(call, { fields: ['tag', 'flow'] }, (query) =>
    withList(call, () => respondWithEmptyPage(query, call.url)),
  );
}

function withList({ account, id }: Call, respond: (list: List) => ApiResponse): ApiResponse {
  const list = account.lists.get(id);
  return list === undefined
    ? createNotFoundResponse(`A list with id ${id} does not exist.`)
    : respond(list);
}
