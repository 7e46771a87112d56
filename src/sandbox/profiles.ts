import { toIdentifiers } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import { isObject } from './json.js';
import type { JsonObject } from './json.js';
import { patchProperties } from './patch-properties.js';

/** Mutable, and shared by all that refer to it. */
export type Profile = {
  readonly id: string;
  /** Epoch ms. */
  readonly createdAt: number;
  updatedAt: number;
  lastEventAt: number | null;
  attributes: JsonObject;
  /** Set where an import joined two profiles: this one is gone, and all it had is there. */
  mergedInto: Profile | null;
};

export type UpsertOptions = {
  /** Epoch ms. */
  readonly at: number;
  /** Null clears a field at profile-import; everywhere else it is left out. */
  readonly nullClears: boolean;
};

/** Klaviyo's profiles, found by any identifier. */
export type ProfileBook = {
  /** Finds by any identifier, joins what several identifiers point to, and applies the input on top. */
  upsert(
    input: ProfileInput,
    options: UpsertOptions,
  ): { readonly profile: Profile; readonly created: boolean };
  /** Everything the input could be known by: its identifiers and the profiles they lead to now. */
  toIdentity(input: ProfileInput): readonly string[];
  /** A profile that has one of these identifiers, other than the one of that id. */
  findOther(attributes: JsonObject, id: string | null): Profile | undefined;
  get(id: string): Profile | undefined;
  /** Oldest first. */
  all(): Iterable<Profile>;
  /** Newest created first. */
  newest(limit: number): readonly Profile[];
  count(): number;
};

/** An index by identifier, kept in step with the attributes of the profiles. */
export function createProfileBook(): ProfileBook {
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
      mergedInto: null,
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
    for (const identifier of toIdentifiers(null, profile.attributes)) {
      byIdentifier.set(identifier, profile);
    }
  };

  const join = (into: Profile, other: Profile): void => {
    into.attributes = merge(other.attributes, into.attributes, false);
    other.mergedInto = into;
    byId.delete(other.id);
    byIdentifier.set(`id:${other.id}`, into);
  };

  return {
    upsert(input, { at, nullClears }) {
      const matches = find(toIdentifiers(input.id, input.attributes));
      const [profile = create(at), ...others] = matches;
      const isNew = matches.length === 0;
      profile.updatedAt = at;
      if (others.length === 0 && input.patch === undefined && saysNothingNew(profile, input)) {
        return { profile, created: isNew };
      }
      const before = matches.flatMap((match) => toIdentifiers(null, match.attributes));
      for (const other of others) join(profile, other);
      const merged = merge(profile.attributes, input.attributes, nullClears);
      profile.attributes =
        input.patch === undefined ? merged : patchProperties(merged, input.patch);
      reindex(profile, before);
      return { profile, created: isNew };
    },
    toIdentity(input) {
      const identifiers = toIdentifiers(input.id, input.attributes);
      return [...identifiers, ...find(identifiers).map(({ id }) => `id:${id}`)];
    },
    findOther: (attributes, id) =>
      find(toIdentifiers(null, attributes)).find((found) => found.id !== id),
    get: (id) => byId.get(id),
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

/** As long as Klaviyo's own, and in the order of creation. */
function toProfileId(number: number): string {
  return `01SB${number.toString(32).toUpperCase().padStart(22, '0')}`;
}

/** Where a joined profile's belongings are now. */
export function toSurvivor(profile: Profile): Profile {
  let survivor = profile;
  while (survivor.mergedInto !== null) survivor = survivor.mergedInto;
  return survivor;
}

/** Most events name a profile that is known already, by nothing but what is known of it. */
function saysNothingNew({ attributes }: Profile, input: ProfileInput): boolean {
  for (const field in input.attributes) {
    const value = input.attributes[field];
    if (typeof value !== 'string' || value !== attributes[field]) return false;
  }
  return true;
}

/** `properties` and `location` are merged member by member, everything else is replaced. */
function merge(base: JsonObject, update: JsonObject, nullClears: boolean): JsonObject {
  const merged = new Map(Object.entries(base));
  for (const [field, value] of Object.entries(update)) {
    const current = merged.get(field);
    if (field === 'meta') continue;
    if (value === null && nullClears) merged.delete(field);
    else if (isObject(value)) {
      merged.set(field, mergeMembers(isObject(current) ? current : {}, value, nullClears));
    } else if (value !== null) merged.set(field, value);
  }
  return Object.fromEntries(merged);
}

/** One level deep: an object within `properties` is a value like any other. */
function mergeMembers(base: JsonObject, update: JsonObject, nullClears: boolean): JsonObject {
  const merged = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(update)) {
    if (value !== null) merged.set(name, value);
    else if (nullClears) merged.delete(name);
  }
  return Object.fromEntries(merged);
}
