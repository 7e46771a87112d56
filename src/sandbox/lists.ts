import type { Profile } from './profiles.js';

/** A Klaviyo list. The first import or subscription job that names a list creates it. */
export type List = {
  readonly id: string;
  readonly name: string;
  readonly optInProcess: 'single_opt_in' | 'double_opt_in';
  /** All times here are epoch ms. */
  readonly createdAt: number;
  updatedAt: number;
  /** When each profile joined the list. */
  readonly members: Map<Profile, number>;
};

export type Lists = {
  /** Returns the list with this id and creates it if it does not exist. */
  ensure(id: string, at: number): List;
  /** Adds profiles. A member keeps the time at which it first joined. */
  add(id: string, profiles: readonly Profile[], at: number): void;
  /** Removes profiles. Those that are no members are ignored. */
  remove(id: string, profiles: readonly Profile[], at: number): void;
  get(id: string): List | undefined;
  /** Oldest first. */
  all(): readonly List[];
  /** The lists that have this profile as a member. */
  ofProfile(profile: Profile): readonly List[];
  /** Removes a deleted profile from all lists. */
  forget(profile: Profile): void;
  /** Makes the profile `into` a member wherever `merged` was one. */
  readonly moveMember: (merged: Profile, into: Profile) => void;
};

/** `doubleOptIn` has the ids of the lists whose subscribers must confirm. */
export function createLists(doubleOptIn: ReadonlySet<string>): Lists {
  const lists = new Map<string, List>();
  const ensure = (id: string, at: number): List => {
    const list = lists.get(id) ?? {
      id,
      name: `List ${id}`,
      optInProcess: doubleOptIn.has(id) ? 'double_opt_in' : 'single_opt_in',
      createdAt: at,
      updatedAt: at,
      members: new Map<Profile, number>(),
    };
    lists.set(id, list);
    return list;
  };
  return {
    ensure,
    add(id, profiles, at) {
      const list = ensure(id, at);
      for (const profile of profiles) {
        if (!list.members.has(profile)) list.members.set(profile, at);
      }
      list.updatedAt = at;
    },
    remove(id, profiles, at) {
      const list = ensure(id, at);
      for (const profile of profiles) list.members.delete(profile);
      list.updatedAt = at;
    },
    get: (id) => lists.get(id),
    all: () => [...lists.values()],
    ofProfile: (profile) => [...lists.values()].filter(({ members }) => members.has(profile)),
    forget(profile) {
      for (const { members } of lists.values()) members.delete(profile);
    },
    moveMember(merged, into) {
      for (const { members } of lists.values()) {
        const joinedAt = members.get(merged);
        if (joinedAt === undefined) continue;
        members.delete(merged);
        members.set(into, Math.min(joinedAt, members.get(into) ?? joinedAt));
      }
    },
  };
}
