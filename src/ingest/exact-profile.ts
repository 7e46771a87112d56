import { isJsonObject, type JsonObject } from '../json/json.js';
import type { Issue } from '../model/outcome.js';
import { mergeProperties } from './map.js';
import {
  isNumeral,
  profileAttributeNames,
  profileFieldNames,
  type PostedProfile,
} from './schema.js';
import { capIssues, toPointer } from './validation.js';

/**
 * Exact updates: what Klaviyo's bulk import ignores and only its endpoint for single profiles does, by its
 * OpenAPI (create_or_update_profile):
 *
 * - An attribute that is null is cleared, and so is a member of `location`.
 * - `meta.patch_properties` appends to lists in custom properties, removes from them, and unsets
 *   properties. A custom property that is null is unset: only for `unset` Klaviyo says that the property
 *   is gone afterwards.
 *
 * A null identifier is absent, and so is `properties: null`: it would have to clear what the caller does
 * not name.
 */
export type ExactUpdate = {
  /** The attributes to clear. */
  readonly attributes: readonly string[];
  /** The members of `location` to clear. */
  readonly location: readonly string[];
  readonly append: JsonObject;
  readonly unappend: JsonObject;
  /** The posted `unset`, and the custom properties that are null. */
  readonly unset: readonly string[];
};

/** Bytes of the request around the profile: `{"data":PROFILE}`. Klaviyo bounds the size of the whole request. */
export const exactRequestBytes = 9;

/**
 * Reads what the profile needs an exact update for; null if it needs none. `nullClears`: false if a null
 * means that the sender has no value, as in the entries of sources.
 */
export function readExactUpdate(profile: PostedProfile, nullClears: boolean): ExactUpdate | null {
  const append = profile.append ?? {};
  const unappend = profile.unappend ?? {};
  const unset = profile.unset ?? [];
  const cleared = nullClears && hasNull(profile) ? findCleared(profile) : nothing;
  const { attributes, location, properties } = cleared;
  const isExact = [
    unset,
    Object.keys(append),
    Object.keys(unappend),
    attributes,
    location,
    properties,
  ].some(({ length }) => length > 0);
  if (!isExact) return null;
  return {
    attributes,
    location,
    append,
    unappend,
    unset: [...new Set([...unset, ...properties])],
  };
}

const nothing = { attributes: [], location: [], properties: [] };

/** Nearly all profiles have no null, and to list those of an object takes longer. */
function hasNull(profile: PostedProfile): boolean {
  const { location, properties } = profile;
  return [profile, location ?? {}, properties ?? {}].some((object: JsonObject) => {
    for (const name in object) if (object[name] === null) return true;
    return false;
  });
}

function findCleared(profile: PostedProfile) {
  const { location } = profile;
  return {
    attributes: [...profileAttributeNames, 'location'].filter((name) => profile[name] === null),
    location: listNulls(location ?? {}),
    properties: listNulls(mergeProperties(profile)),
  };
}

const listNulls = (object: JsonObject): readonly string[] =>
  Object.keys(object).filter((name) => object[name] === null);

/** Adds an exact update to the payload of a bulk import. */
export function toExactPayload(
  { type, attributes }: { readonly type: string; readonly attributes: JsonObject },
  exact: ExactUpdate,
): JsonObject {
  const { properties, location, ...others } = attributes;
  // Here a null would clear a property of a sender that only has no value for it.
  const kept = isJsonObject(properties)
    ? Object.entries(properties).filter(([, value]) => value !== null)
    : [];
  const place = { ...(isJsonObject(location) && location), ...toNulls(exact.location) };
  const { append, unappend, unset } = exact;
  const patch = {
    ...(Object.keys(append).length > 0 && { append }),
    ...(Object.keys(unappend).length > 0 && { unappend }),
    ...(unset.length > 0 && { unset }),
  };
  return {
    type,
    attributes: {
      ...others,
      ...toNulls(exact.attributes),
      ...(Object.keys(place).length > 0 && { location: place }),
      ...(kept.length > 0 && { properties: Object.fromEntries(kept) }),
    },
    ...(Object.keys(patch).length > 0 && { meta: { patch_properties: patch } }),
  };
}

const toNulls = (names: readonly string[]): JsonObject =>
  Object.fromEntries(names.map((name) => [name, null]));

/**
 * Finds what Klaviyo would reject or leave open: a change of an attribute as if it were a custom property,
 * values that are no simple ones, and two changes of one property, whose order it does not define.
 */
export function findExactIssues(profile: PostedProfile): readonly Issue[] {
  const issues: Issue[] = [];
  const changedBy = new Map<string, string>();
  for (const [name, value] of Object.entries(mergeProperties(profile))) {
    changedBy.set(name, value === null ? 'unset' : 'the properties');
  }
  const check = (field: string, name: string, path: readonly PropertyKey[]): void => {
    const other = changedBy.get(name);
    if (profileFieldNames.has(name)) {
      const detail = `is a field of a profile and no custom property: set it, or clear it with null`;
      issues.push({ pointer: toPointer(path), detail });
    } else if (other !== undefined && other !== field) {
      const detail = `is also in ${other}: Klaviyo defines no order of the two`;
      issues.push({ pointer: toPointer(path), detail });
    } else changedBy.set(name, field);
  };
  for (const field of ['append', 'unappend'] as const) {
    for (const [name, value] of Object.entries(profile[field] ?? {})) {
      check(field, name, [field, name]);
      if (isSimple(value) || (Array.isArray(value) && value.every(isSimple))) continue;
      const detail = 'must be a string, a number or a boolean, or a list of these';
      issues.push({ pointer: toPointer([field, name]), detail });
    }
  }
  profile.unset?.forEach((name, index) => check('unset', name, ['unset', index]));
  return capIssues(issues);
}

const isSimple = (value: unknown): boolean =>
  typeof value === 'string' || typeof value === 'boolean' || isNumeral(value);
