import type { Call } from './account.js';
import { toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import { comparedTime, equalText, isMatch, oneOfTexts, strictlyComparedTime } from './filters.js';
import { toText } from './json.js';
import type { List } from './lists.js';
import { toSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import { toEmptyPage, toOne, toPage, withQuery } from './query.js';
import type { QueryRules } from './query.js';
import { toListResource, toProfileResource } from './resources.js';
import type { Resource } from './resources.js';
import { eitherWay, sortBy } from './sort.js';

const listSuppressions = 'subscriptions.email.marketing.list_suppressions';
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
    // Nobody is suppressed here, so these match nothing.
    [`${listSuppressions}.reason`]: equalText,
    [`${listSuppressions}.timestamp`]: comparedTime,
    [`${listSuppressions}.list_id`]: equalText,
    [`${suppression}.reason`]: equalText,
    [`${suppression}.timestamp`]: comparedTime,
  },
  sort: eitherWay(
    'created',
    'email',
    'id',
    'updated',
    `${listSuppressions}.timestamp`,
    `${suppression}.timestamp`,
  ),
  maxPageSize: 100,
};

export function getProfiles(call: Call): Answer {
  const { url, account } = call;
  return withQuery(call, profileRules, (query) => {
    const found = [...account.profiles.all()].filter((profile) =>
      isMatch(query.filter, (field) => toValue(profile, field)),
    );
    const sorted = sortBy(found, query.sort, (profile, field) => toValue(profile, field) ?? '');
    return toPage(sorted, { query, url, toResource: (one) => toProfileResource(one, url) });
  });
}

function toValue(profile: Profile, field: string): string | number | undefined {
  switch (field) {
    case 'id':
      return profile.id;
    case 'created':
      return profile.createdAt;
    case 'updated':
      return profile.updatedAt;
    default:
      return toText(profile.attributes[field]);
  }
}

export function getProfile(call: Call): Answer {
  const { url } = call;
  const rules = {
    fields: ['profile', 'list', 'segment', 'push-token', 'conversation'],
    additionalFields: 'profile',
    include: ['lists', 'segments', 'push-tokens', 'conversations'],
  };
  return withQuery(call, rules, (query) =>
    withProfile(call, (profile) => {
      const lists = query.include.includes('lists') ? toLists(call, profile) : [];
      const included = lists.map((list) => toListResource(list, url));
      return toOne(toProfileResource(profile, url), query, included);
    }),
  );
}

export function getProfileLists(call: Call): Answer {
  return showLists(call, { fields: ['list'] });
}

export function getProfileListIds(call: Call): Answer {
  return showLists(call, { fields: [], identifiersOnly: true });
}

function showLists(
  call: Call,
  { fields, identifiersOnly = false }: { fields: readonly string[]; identifiersOnly?: boolean },
): Answer {
  const { url } = call;
  return withQuery(call, { fields }, (query) =>
    withProfile(call, (profile) => {
      const toResource = (list: List): Resource => toListResource(list, url);
      return toPage(toLists(call, profile), { query, url, toResource, identifiersOnly });
    }),
  );
}

function toLists({ account }: Call, profile: Profile): readonly List[] {
  return account.lists
    .all()
    .filter(({ members }) => [...members.keys()].some((one) => toSurvivor(one) === profile));
}

/** The sandbox has no segments and no push tokens: these are always empty. */
export function getNoneOfProfile(call: Call): Answer {
  return withQuery(call, { fields: ['segment', 'push-token'] }, (query) =>
    withProfile(call, () => toEmptyPage(query, call.url)),
  );
}

function withProfile({ account, id }: Call, answer: (profile: Profile) => Answer): Answer {
  const profile = account.profiles.get(id);
  return profile === undefined
    ? toNotFound(`A profile with id ${id} does not exist.`)
    : answer(profile);
}
