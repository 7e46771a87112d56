import type { Call } from './account.js';
import { toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import { comparedTime, equalText, isMatch, oneOfTexts } from './filters.js';
import type { FilterField } from './filters.js';
import { toText } from './json.js';
import type { List } from './lists.js';
import { toSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import { toEmptyPage, toOne, toPage, withQuery } from './query.js';
import { toListResource, toProfileResource } from './resources.js';
import type { Resource } from './resources.js';
import { eitherWay, sortBy } from './sort.js';

const includedInLists = { fields: ['list', 'tag', 'flow'], include: ['tags', 'flow-triggers'] };
const later: FilterField = { type: 'time', operators: ['greater-than'] };

export function getLists(call: Call): Answer {
  const { url, account } = call;
  const rules = {
    ...includedInLists,
    filter: { name: oneOfTexts, id: oneOfTexts, created: later, updated: later },
    sort: eitherWay('created', 'id', 'name', 'updated'),
    pageSize: 10,
    maxPageSize: 10,
  };
  return withQuery(call, rules, (query) => {
    const found = account.lists
      .all()
      .filter((list) => isMatch(query.filter, (field) => toValue(list, field)));
    const sorted = sortBy(found, query.sort, toValue);
    return toPage(sorted, { query, url, toResource: (list) => toListResource(list, url) });
  });
}

function toValue(list: List, field: string): string | number {
  if (field === 'created') return list.createdAt;
  if (field === 'updated') return list.updatedAt;
  return field === 'name' ? list.name : list.id;
}

export function getList(call: Call): Answer {
  const rules = { ...includedInLists, additionalFields: 'list' };
  return withQuery(call, rules, (query) =>
    withList(call, (list) => toOne(toListResource(list, call.url), query)),
  );
}

export function getListProfiles(call: Call): Answer {
  return showProfiles(call, { identifiersOnly: false });
}

export function getListProfileIds(call: Call): Answer {
  return showProfiles(call, { identifiersOnly: true });
}

type Member = { readonly profile: Profile; readonly joinedAt: number };

function showProfiles(call: Call, { identifiersOnly }: { identifiersOnly: boolean }): Answer {
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
    sort: eitherWay('joined_group_at'),
    maxPageSize: 100,
  };
  return withQuery(call, rules, (query) =>
    withList(call, (list) => {
      const found = toMembers(list).filter(({ profile, joinedAt }) =>
        isMatch(query.filter, (field) =>
          field === 'joined_group_at' ? joinedAt : toText(profile.attributes[field]),
        ),
      );
      const sorted = sortBy(found, query.sort, ({ joinedAt }) => joinedAt);
      const toResource = ({ profile }: Member): Resource => toProfileResource(profile, url);
      return toPage(sorted, { query, url, toResource, identifiersOnly });
    }),
  );
}

/** Joined profiles as one, which joined when the first of them did. */
function toMembers({ members }: List): readonly Member[] {
  const first = new Map<Profile, number>();
  for (const [member, joinedAt] of members) {
    const profile = toSurvivor(member);
    if (!first.has(profile)) first.set(profile, joinedAt);
  }
  return Array.from(first, ([profile, joinedAt]) => ({ profile, joinedAt }));
}

/** The sandbox has no tags and no flows: these are always empty. */
export function getNoneOfList(call: Call): Answer {
  return withQuery(call, { fields: ['tag', 'flow'] }, (query) =>
    withList(call, () => toEmptyPage(query, call.url)),
  );
}

function withList({ account, id }: Call, answer: (list: List) => Answer): Answer {
  const list = account.lists.get(id);
  return list === undefined ? toNotFound(`A list with id ${id} does not exist.`) : answer(list);
}
