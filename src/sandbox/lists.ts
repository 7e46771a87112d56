import type { Profile } from './profiles.js';

/** The lists that import jobs name. The first job that names a list creates it. */
export type List = {
  readonly id: string;
  readonly name: string;
  /** Epoch ms, as all times here. */
  readonly createdAt: number;
  updatedAt: number;
  /** When each of its profiles joined it. */
  readonly members: Map<Profile, number>;
};

export type ListBook = {
  /** The list of that id, made where there is none. */
  ensure(id: string, at: number): List;
  /** Adds profiles; one that is a member stays one since the first time. */
  add(id: string, profiles: readonly Profile[], at: number): void;
  get(id: string): List | undefined;
  /** Oldest first. */
  all(): readonly List[];
};

export function createListBook(): ListBook {
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
