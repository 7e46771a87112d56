import type { Profile } from './profiles.js';

/** A Klaviyo list. The first import job that names a list creates it. */
export type List = {
  readonly id: string;
  readonly name: string;
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
  get(id: string): List | undefined;
  /** Oldest first. */
  all(): readonly List[];
};

export function createLists(): Lists {
  const lists = new Map<string, List>();
  const ensure = (id: string, at: number): List => {
    const list = lists.get(id) ?? {
      id,
      name: `List ${id}`,
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
    get: (id) => lists.get(id),
    all: () => [...lists.values()],
  };
}
