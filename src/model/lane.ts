/** The Klaviyo endpoints that have a queue of their own. */
export const lanes = ['events', 'profiles'] as const;

export type Lane = (typeof lanes)[number];

/**
 * The queues of a store: one for each lane, and `waiting`. That queue holds entries of a source that
 * refer to a person the relay has no identifiers for yet. They are never sent: the relay ingests them
 * again when a later request identifies the person (ingest/waiting.ts).
 */
export const storeLanes = [...lanes, 'waiting'] as const;

export type StoreLane = (typeof storeLanes)[number];

/** Returns true for a lane that is delivered to Klaviyo. */
export const isLane = (lane: StoreLane): lane is Lane => lane !== 'waiting';

/** Returns an object with the value of each queue. */
export const mapStoreLanes = <T>(toValue: (lane: StoreLane) => T): Readonly<Record<StoreLane, T>> =>
  Object.fromEntries(storeLanes.map((lane) => [lane, toValue(lane)])) as Record<StoreLane, T>;
