import { readElement } from '../../model/group.js';
import { isRecord, tryParseJson, type FoundProfile } from '../documents.js';
import { createMembersBody, type LaneApi } from './lane.js';
import { toProfilePaths } from './profile-paths.js';

/**
 * Klaviyo's OpenAPI: remove_profiles_from_list. It takes Klaviyo's own ids of profiles, up to 1000 of them.
 * A request has at most as many people as one look-up can find. Look-ups count within Klaviyo's limit for
 * reads of profiles. It is higher than the limit for removals, so the permit of the removal is enough.
 */
export const removeFromList = {
  path: '/api/lists/{id}/relationships/profiles',
  method: 'DELETE',
  scopes: ['profiles:write', 'lists:write'],
  lookUp: { scopes: ['profiles:read'], toPaths: toRemovalPaths, toElements: toRemovalElements },
  isOptional: true,
  body: createMembersBody(),
  success: 'no-content',
  settings: {
    prefix: 'REMOVE_FROM_LIST',
    noun: 'removals from lists',
    maxCount: 100,
    rateWindows: '10/1s,150/60s',
    limited: 'removals from lists',
  },
} as const satisfies LaneApi;

const fields = ['email', 'phone_number', 'external_id'] as const;

/** The identifiers of a person: those that the payload has, or that Klaviyo has. */
type Identifiers = Readonly<Partial<Record<(typeof fields)[number], string>>>;

function toRemovalPaths(payloads: readonly Uint8Array[]): readonly string[] {
  const people = payloads.map(readIdentifiers);
  return fields.flatMap((field) => {
    const values = people.flatMap(({ [field]: value }) => {
      if (value === undefined) return [];
      // It is not documented whether the filter regards case.
      return field === 'email' ? [value, value.toLowerCase()] : [value];
    });
    return toProfilePaths(field, [...new Set(values)], fields);
  });
}

function toRemovalElements(
  payloads: readonly Uint8Array[],
  profiles: readonly FoundProfile[],
): readonly (readonly string[])[] {
  const found = profiles.map(({ id, attributes }) => ({
    element: JSON.stringify({ type: 'profile', id }),
    identifiers: pickIdentifiers(attributes),
  }));
  return payloads
    .map(readIdentifiers)
    .map((person) =>
      found.flatMap(({ element, identifiers }) => (isSame(person, identifiers) ? [element] : [])),
    );
}

/**
 * Returns true if the profile has one of the person's identifiers and no other value for another one: the
 * relay does not decide which of two people is meant.
 */
function isSame(person: Identifiers, profile: Identifiers): boolean {
  const both = fields.flatMap((field) => {
    const [one, other] = [person[field], profile[field]];
    return one === undefined || other === undefined
      ? []
      : [toComparable(field, one) === toComparable(field, other)];
  });
  return both.length > 0 && both.every(Boolean);
}

/** Klaviyo compares e-mail addresses without regard to case, and other identifiers exactly. */
const toComparable = (field: (typeof fields)[number], value: string): string =>
  field === 'email' ? value.toLowerCase() : value;

function readIdentifiers(payload: Uint8Array): Identifiers {
  const element = tryParseJson(Buffer.from(readElement(payload)).toString());
  return isRecord(element) && isRecord(element.attributes)
    ? pickIdentifiers(element.attributes)
    : {};
}

const pickIdentifiers = (attributes: Readonly<Record<string, unknown>>): Identifiers =>
  Object.fromEntries(
    fields.flatMap((field) => {
      const value = attributes[field];
      return typeof value === 'string' ? [[field, value]] : [];
    }),
  );
