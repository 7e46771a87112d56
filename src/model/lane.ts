/**
 * The lanes, as data. A lane is an endpoint of Klaviyo with a queue of its own. Its stored properties are
 * here; how the endpoint is called is in `klaviyo/lanes/`. Everything else (stores, engine, limiter,
 * settings, metrics, HTTP) takes the lanes from these two lists.
 *
 * A lane that is new needs no migration: a store without entries of it has an empty queue.
 */
export type LaneTraits = {
  /** The lane in keys on disk. It never changes, and is never used for another lane. */
  readonly number: number;
  /** The first part of the ids of envelopes: two letters. It never changes. */
  readonly idPrefix: string;
  /** True if several envelopes of one person become one element of a request. */
  readonly merges: boolean;
  /**
   * True if a payload begins with the name of its group (`model/group.ts`). Only envelopes of one group
   * share a request, such as the subscriptions to one list.
   */
  readonly isGrouped?: boolean;
  /**
   * The lane whose posted entries become drafts of this one. It has no entries and no route of its own.
   * Absent: callers post entries of the lane.
   */
  readonly postedWith?: string;
  /** True if its drafts come beside the draft of the entry, and not in its place. */
  readonly isBeside?: boolean;
  /** The lane whose counter gives the numbers. Lanes with one counter are in one order. Absent: its own. */
  readonly numberedWith?: string;
  /**
   * Lanes with the same counter. An envelope waits until all envelopes of the same person in these lanes
   * that were accepted before it are settled.
   */
  readonly after?: readonly string[];
  /**
   * True if a request is a bulk import of profiles. Klaviyo lists the jobs of all such lanes together, and
   * counts their polls together.
   */
  readonly importsProfiles?: boolean;
  /**
   * `all`: while an envelope of this lane is unsettled, no other lane sends an envelope of its person,
   * whenever that was accepted.
   */
  readonly blocks?: 'all';
};

const sentLanes = {
  events: { number: 0, idPrefix: 'ev', merges: false },
  profiles: {
    number: 1,
    idPrefix: 'pr',
    merges: true,
    importsProfiles: true,
    // An addition to a list has identifiers, so it could bring back a number that a later profile changes. A
    // removal looks up the person by them, so it must not come after such a change.
    after: ['update_profile', 'add_to_list', 'remove_from_list'],
  },
  subscribe: {
    number: 3,
    idPrefix: 'su',
    merges: false,
    isGrouped: true,
    numberedWith: 'profiles',
    after: ['profiles', 'update_profile', 'remove_from_list', 'unsubscribe', 'suppress'],
  },
  unsubscribe: {
    number: 4,
    idPrefix: 'un',
    merges: false,
    isGrouped: true,
    numberedWith: 'profiles',
    // Klaviyo unsubscribes a person from everything who is not in the list, or not yet.
    after: ['subscribe', 'add_to_list', 'remove_from_list'],
  },
  // A subscription lifts a suppression at Klaviyo, so the two keep their order.
  suppress: {
    number: 5,
    idPrefix: 'sp',
    merges: false,
    numberedWith: 'profiles',
    after: ['subscribe', 'unsuppress'],
  },
  unsuppress: {
    number: 6,
    idPrefix: 'us',
    merges: false,
    numberedWith: 'profiles',
    after: ['suppress'],
  },
  update_profile: {
    number: 9,
    idPrefix: 'up',
    merges: false,
    postedWith: 'profiles',
    numberedWith: 'profiles',
    after: ['profiles', 'add_to_list', 'remove_from_list'],
  },
  erase: { number: 10, idPrefix: 'er', merges: false, numberedWith: 'profiles', blocks: 'all' },
  add_to_list: {
    number: 7,
    idPrefix: 'al',
    merges: false,
    isGrouped: true,
    importsProfiles: true,
    postedWith: 'profiles',
    isBeside: true,
    numberedWith: 'profiles',
    after: ['profiles', 'update_profile', 'remove_from_list', 'unsubscribe'],
  },
  remove_from_list: {
    number: 8,
    idPrefix: 'rl',
    merges: false,
    isGrouped: true,
    postedWith: 'profiles',
    isBeside: true,
    numberedWith: 'profiles',
    after: ['profiles', 'update_profile', 'add_to_list', 'subscribe', 'unsubscribe'],
  },
} as const satisfies Record<string, LaneTraits>;

export type Lane = keyof typeof sentLanes;

type Traits = typeof sentLanes;

/** A lane whose entries callers post. */
export type PostedLane = {
  [L in Lane]: Traits[L] extends { readonly postedWith: string } ? never : L;
}[Lane];

/** The lanes that are delivered to Klaviyo. */
export const lanes = Object.keys(sentLanes) as readonly Lane[] as readonly [Lane, ...Lane[]];

/**
 * The queues of a store: one for each lane, and `waiting`. That queue holds entries of a source that
 * refer to a person the relay has no identifiers for yet. They are never sent: the relay ingests them
 * again when a later request identifies the person (ingest/waiting.ts).
 */
export type StoreLane = Lane | 'waiting';

export const storeLanes: readonly [StoreLane, ...StoreLane[]] = [...lanes, 'waiting'];

export const laneTraits: Readonly<Record<StoreLane, LaneTraits>> = {
  ...sentLanes,
  waiting: { number: 2, idPrefix: 'wa', merges: false },
};

/** Returns true for a lane that is delivered to Klaviyo. */
export const isLane = (lane: StoreLane): lane is Lane => lane !== 'waiting';

/** Returns true for a lane whose entries callers post. */
export const isPostedLane = (lane: StoreLane): lane is PostedLane =>
  isLane(lane) && laneTraits[lane].postedWith === undefined;

/** The lane whose posted entries become drafts of this lane. */
export const toPostedLane = (lane: Lane): PostedLane =>
  isPostedLane(lane) ? lane : (laneTraits[lane].postedWith as PostedLane);

/** The lanes whose entries callers post. */
export const postedLanes = lanes.filter(isPostedLane);

/**
 * The lane in which an envelope with the keys of an earlier one is a repeat and is not stored again. It is
 * the only one, because the dedupe window of a store holds numbers of envelopes without their lane.
 */
export const dedupedLane = 'events' satisfies Lane;

/** Returns true for a lane whose drafts come beside those of the posted entries. */
export const isBesideLane = (lane: StoreLane): boolean => laneTraits[lane].isBeside === true;

/** The lane whose counter gives a lane its numbers. */
export const counterLane = (lane: StoreLane): StoreLane =>
  (laneTraits[lane].numberedWith as Lane | undefined) ?? lane;

/** The lanes whose unsettled envelopes block all other lanes for their person. */
export const blockingLanes: readonly Lane[] = lanes.filter(
  (lane) => (sentLanes[lane] as LaneTraits).blocks === 'all',
);

/** Returns an object with the value of each lane. */
export const mapLanes = <T>(toValue: (lane: Lane) => T): Readonly<Record<Lane, T>> =>
  Object.fromEntries(lanes.map((lane) => [lane, toValue(lane)])) as Record<Lane, T>;

/** Returns an object with the value of each lane whose entries callers post. */
export const mapPostedLanes = <T>(
  toValue: (lane: PostedLane) => T,
): Readonly<Record<PostedLane, T>> =>
  Object.fromEntries(postedLanes.map((lane) => [lane, toValue(lane)])) as Record<PostedLane, T>;

/** Returns an object with the value of each queue. */
export const mapStoreLanes = <T>(toValue: (lane: StoreLane) => T): Readonly<Record<StoreLane, T>> =>
  Object.fromEntries(storeLanes.map((lane) => [lane, toValue(lane)])) as Record<StoreLane, T>;
