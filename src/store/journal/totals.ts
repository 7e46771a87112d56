import { z } from 'zod';
import type { Lane } from '../../envelope.js';

const count = z.int().min(0);

const laneTotalsSchema = z.object({
  /** The number that the next envelope gets. */
  nextSeq: count,
  /** Not settled yet. */
  count,
  bytes: count,
  deadLetters: count,
  /** Since the journal began; a redrive counts as an acceptance. */
  accepted: count,
  delivered: count,
  merged: count,
  deadLettered: count,
});

/** What would take long to count, and the numbers given out. Written in the transaction that changes it. */
export const totalsSchema = z.object({
  lanes: z.object({ events: laneTotalsSchema, profiles: laneTotalsSchema }),
  nextRedriven: count,
  nextDelivery: count,
  nextLetter: count,
  nextSeen: count,
});

export type LaneTotals = z.output<typeof laneTotalsSchema>;
export type Totals = z.output<typeof totalsSchema>;

export function toCopy(totals: Totals): Totals {
  const { lanes } = totals;
  return { ...totals, lanes: { events: { ...lanes.events }, profiles: { ...lanes.profiles } } };
}

const freshLane = (): LaneTotals => ({
  nextSeq: 1,
  count: 0,
  bytes: 0,
  deadLetters: 0,
  accepted: 0,
  delivered: 0,
  merged: 0,
  deadLettered: 0,
});

export const freshTotals = (): Totals => ({
  lanes: { events: freshLane(), profiles: freshLane() },
  nextRedriven: 1,
  nextDelivery: 1,
  nextLetter: 1,
  nextSeen: 1,
});

/** Keys on disk name a lane by its number. */
export const laneNumbers: Readonly<Record<Lane, number>> = { events: 0, profiles: 1 };
