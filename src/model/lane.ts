export const lanes = ['events', 'profiles'] as const;

export type Lane = (typeof lanes)[number];

/**
 * Queues of a store: one for each lane, and `waiting` for entries of a source that name a person the
 * relay does not know yet. What waits is never sent: the relay ingests it again once it knows the
 * person (ingest/waiting.ts).
 */
export const storeLanes = [...lanes, 'waiting'] as const;

export type StoreLane = (typeof storeLanes)[number];

/** Returns true for a lane that is delivered to Klaviyo. */
export const isLane = (lane: StoreLane): lane is Lane => lane !== 'waiting';

export const mapStoreLanes = <T>(toValue: (lane: StoreLane) => T): Readonly<Record<StoreLane, T>> =>
  Object.fromEntries(storeLanes.map((lane) => [lane, toValue(lane)])) as Record<StoreLane, T>;
