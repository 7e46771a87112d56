import { z } from 'zod';
import { mapStoreLanes, type StoreLane } from '../../model/lane.js';

const count = z.int().min(0);

const laneTotalsSchema = z.object({
  /** Number of the next envelope. */
  nextSeq: count,
  /** Unsettled envelopes. */
  count,
  bytes: count,
  deadLetters: count,
  /** Since the journal was created; a redrive counts as an acceptance. */
  accepted: count,
  delivered: count,
  merged: count,
  deadLettered: count,
  /** Absent in totals of versions without erasures. */
  erased: count.default(0),
});

/**
 * The stored form. Unknown lanes are dropped, and a newer version counts them again. The member names are part of
 * the stored format.
 */
export const storedTotalsSchema = z.object({
  /** A lane is absent if the version that wrote the totals does not have it. */
  lanes: z.object(mapStoreLanes(() => laneTotalsSchema.optional())),
  nextRedriven: count,
  nextDelivery: count,
  nextLetter: count,
  nextSeen: count,
});

export type LaneTotals = z.output<typeof laneTotalsSchema>;
/**
 * Counts that would take long to compute, and the next numbers. Written in the same transaction as the changes that
 * they count.
 */
export type Totals = Omit<z.output<typeof storedTotalsSchema>, 'lanes'> & {
  readonly lanes: Readonly<Record<StoreLane, LaneTotals>>;
};

export function copyTotals(totals: Totals): Totals {
  return { ...totals, lanes: mapStoreLanes((lane) => ({ ...totals.lanes[lane] })) };
}

export const createLaneTotals = (): LaneTotals => ({
  nextSeq: 1,
  count: 0,
  bytes: 0,
  deadLetters: 0,
  accepted: 0,
  delivered: 0,
  merged: 0,
  deadLettered: 0,
  erased: 0,
});

export const createTotals = (): Totals => ({
  lanes: mapStoreLanes(createLaneTotals),
  nextRedriven: 1,
  nextDelivery: 1,
  nextLetter: 1,
  nextSeen: 1,
});
