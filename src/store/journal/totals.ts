import { z } from 'zod';
import { storeLanes, type StoreLane } from '../../model/lane.js';
import { mapStoreLanes } from '../../model/lane.js';

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

/** As they lie on disk. Names that are not known are left out: a newer version counts again what it finds. */
export const storedTotalsSchema = z.object({
  /** A lane that the version does not have which wrote them last is absent. */
  lanes: z.partialRecord(z.enum(storeLanes), laneTotalsSchema),
  nextRedriven: count,
  nextDelivery: count,
  nextLetter: count,
  nextSeen: count,
});

export type LaneTotals = z.output<typeof laneTotalsSchema>;
/** What would take long to count, and the numbers given out. Written in the transaction that changes it. */
export type Totals = Omit<z.output<typeof storedTotalsSchema>, 'lanes'> & {
  readonly lanes: Readonly<Record<StoreLane, LaneTotals>>;
};

export function toCopy(totals: Totals): Totals {
  return { ...totals, lanes: mapStoreLanes((lane) => ({ ...totals.lanes[lane] })) };
}

export const freshLane = (): LaneTotals => ({
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
  lanes: mapStoreLanes(freshLane),
  nextRedriven: 1,
  nextDelivery: 1,
  nextLetter: 1,
  nextSeen: 1,
});

/** Keys on disk name a lane by its number. */
export const laneNumbers: Readonly<Record<StoreLane, number>> = {
  events: 0,
  profiles: 1,
  waiting: 2,
};
