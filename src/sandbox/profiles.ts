/**
 * The profiles of the account, found by any identifier. Imitates Klaviyo's documented identity
 * resolution: a request whose identifiers lead to several profiles merges them into the one with
 * the strongest identifier.
 */

import { isDeepStrictEqual } from 'node:util';
import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import { toIdentifierKeys } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import { createConsent, mergeConsent } from './consent.js';
import type { ProfileConsent } from './consent.js';

/** Mutable, and shared by everything that refers to it. */
export type Profile = {
  readonly id: string;
  /** Epoch ms. */
  readonly createdAt: number;
  updatedAt: number;
  lastEventAt: number | null;
  attributes: JsonObject;
  readonly consent: ProfileConsent;
  /** Set when it was merged into another profile, which holds its data now. */
  mergedInto: Profile | null;
  isDeleted: boolean;
};

export type UpsertOptions = {
  /** Epoch ms. */
  readonly at: number;
  /** At profile-import null clears a field; everywhere else it is ignored. */
  readonly nullClears: boolean;
};

export type Profiles = {
  /** Finds profiles by any identifier, merges them if there are several, and applies the input. */
  upsert(
    input: ProfileInput,
    options: UpsertOptions,
  ): { readonly profile: Profile; readonly created: boolean };
  /** All keys of the input: its identifiers and the ids of the profiles to which they lead now. */
  listIdentityKeys(input: ProfileInput): readonly string[];
  /** Finds a profile that has one of these identifiers and not this id. */
  findOther(attributes: JsonObject, id: string | null): Profile | undefined;
  get(id: string): Profile | undefined;
  /** Finds the profiles that have one of these identifiers, or had this id before a merge. */
  find(id: string | null, attributes: JsonObject): readonly Profile[];
  /** Merges `source` into `into`, whose own attributes stay. */
  merge(into: Profile, source: Profile, at: number): void;
  delete(profile: Profile): void;
  /** Oldest first. */
  all(): Iterable<Profile>;
  /** Most recently created first. */
  newest(limit: number): readonly Profile[];
  count(): number;
};

/**
 * The index by identifier always matches the attributes of the profiles. `onMerge` is called for
 * each profile that is merged into another.
 */
export function createProfiles(
  onMerge: (merged: Profile, into: Profile) => void = () => undefined,
): Profiles {
  const byId = new Map<string, Profile>();
  const byIdentifier = new Map<string, Profile>();
  let created = 0;

  const create = (at: number): Profile => {
    const id = toProfileId(++created);
    const profile: Profile = {
      id,
      createdAt: at,
      updatedAt: at,
      lastEventAt: null,
      attributes: {},
      consent: createConsent(),
      mergedInto: null,
      isDeleted: false,
    };
    byId.set(id, profile);
    byIdentifier.set(`id:${id}`, profile);
    return profile;
  };

  const find = (identifiers: readonly string[]): Profile[] => {
    const found: Profile[] = [];
    for (const identifier of identifiers) {
      const profile = byIdentifier.get(identifier);
      if (profile !== undefined && !found.includes(profile)) found.push(profile);
    }
    return found;
  };

  const reindex = (profile: Profile, before: readonly string[]): void => {
    for (const identifier of before) byIdentifier.delete(identifier);
    for (const identifier of toIdentifierKeys(null, profile.attributes)) {
      byIdentifier.set(identifier, profile);
    }
  };

  const joinProfiles = (into: Profile, other: Profile): void => {
    into.attributes = mergeAttributes(other.attributes, into.attributes, false);
    mergeConsent(into.consent, other.consent);
    other.mergedInto = into;
    byId.delete(other.id);
    byIdentifier.set(`id:${other.id}`, into);
    onMerge(other, into);
  };

  return {
    upsert(input, { at, nullClears }) {
      const matches = find(toIdentifierKeys(input.id, input.attributes));
      const [profile = create(at), ...others] = matches;
      const isNew = matches.length === 0;
      profile.updatedAt = at;
      if (others.length === 0 && input.patch === undefined && changesNothing(profile, input)) {
        return { profile, created: isNew };
      }
      const before = matches.flatMap((match) => toIdentifierKeys(null, match.attributes));
      for (const other of others) joinProfiles(profile, other);
      const merged = mergeAttributes(profile.attributes, input.attributes, nullClears);
      profile.attributes =
        input.patch === undefined ? merged : patchProperties(merged, input.patch);
      reindex(profile, before);
      return { profile, created: isNew };
    },
    listIdentityKeys(input) {
      const identifiers = toIdentifierKeys(input.id, input.attributes);
      return [...identifiers, ...find(identifiers).map(({ id }) => `id:${id}`)];
    },
    findOther: (attributes, id) =>
      find(toIdentifierKeys(null, attributes)).find((found) => found.id !== id),
    get: (id) => byId.get(id),
    find: (id, attributes) => find(toIdentifierKeys(id, attributes)),
    merge(into, source, at) {
      const before = [into, source].flatMap((one) => toIdentifierKeys(null, one.attributes));
      joinProfiles(into, source);
      into.updatedAt = at;
      reindex(into, before);
    },
    delete(profile) {
      profile.isDeleted = true;
      byId.delete(profile.id);
      for (const [identifier, found] of byIdentifier) {
        if (found === profile) byIdentifier.delete(identifier);
      }
    },
    all: () => byId.values(),
    newest(limit) {
      const found: Profile[] = [];
      for (let number = created; number > 0 && found.length < limit; number--) {
        const profile = byId.get(toProfileId(number));
        if (profile !== undefined) found.push(profile);
      }
      return found;
    },
    count: () => byId.size,
  };
}

/** As long as Klaviyo's ids, and in the order of creation. */
function toProfileId(number: number): string {
  return `01SB${number.toString(32).toUpperCase().padStart(22, '0')}`;
}

/** Returns the profile that holds the data of a merged profile. */
export function getSurvivor(profile: Profile): Profile {
  let survivor = profile;
  while (survivor.mergedInto !== null) survivor = survivor.mergedInto;
  return survivor;
}

/** Most events name an existing profile by attributes that it already has. */
function changesNothing({ attributes }: Profile, input: ProfileInput): boolean {
  for (const field in input.attributes) {
    const value = input.attributes[field];
    if (typeof value !== 'string' || value !== attributes[field]) return false;
  }
  return true;
}

/** `properties` and `location` are merged by member. All other fields are replaced. */
function mergeAttributes(base: JsonObject, update: JsonObject, nullClears: boolean): JsonObject {
  const merged = new Map(Object.entries(base));
  for (const [field, value] of Object.entries(update)) {
    const current = merged.get(field);
    if (field === 'meta') continue;
    if (value === null && nullClears) merged.delete(field);
    else if (isJsonObject(value)) {
      merged.set(field, mergeMembers(isJsonObject(current) ? current : {}, value, nullClears));
    } else if (value !== null) merged.set(field, value);
  }
  return Object.fromEntries(merged);
}

/** Merges one level: an object within `properties` is replaced as a whole. */
function mergeMembers(base: JsonObject, update: JsonObject, nullClears: boolean): JsonObject {
  const merged = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(update)) {
    if (value !== null) merged.set(name, value);
    else if (nullClears) merged.delete(name);
  }
  return Object.fromEntries(merged);
}

/**
 * Klaviyo's `meta.patch_properties`: appends to and removes from list properties, and deletes
 * properties.
 */
export function patchProperties(attributes: JsonObject, patch: JsonObject): JsonObject {
  const current = attributes.properties;
  const properties = new Map(Object.entries(isJsonObject(current) ? current : {}));
  for (const [name, value] of listEntries(patch.append)) {
    properties.set(name, [...readList(properties.get(name)), ...readList(value)]);
  }
  for (const [name, value] of listEntries(patch.unappend)) {
    const removed = readList(value);
    const kept = readList(properties.get(name)).filter(
      (entry) => !removed.some((gone) => isDeepStrictEqual(gone, entry)),
    );
    properties.set(name, kept);
  }
  for (const name of readList(patch.unset)) {
    if (typeof name === 'string') properties.delete(name);
  }
  return { ...attributes, properties: Object.fromEntries(properties) };
}

function listEntries(value: unknown): [string, unknown][] {
  return isJsonObject(value) ? Object.entries(value) : [];
}

/** A single value counts as a list with one element. */
function readList(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? Array.from<unknown>(value) : [value];
}
