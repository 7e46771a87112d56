import { laneTraits, type StoreLane } from '../model/lane.js';
import type { BatchItem } from '../model/envelope.js';
import { ClaimBuilder, type Candidate } from './claim-builder.js';

const unbounded = { maxCount: Infinity, maxBytes: Infinity, isolateAfterAttempts: Infinity };

/**
 * Groups an import job's envelopes, oldest first, into the items that they were sent in. The same rule gives the
 * same items, since the envelopes of an item are always settled together.
 */
export function toBatchItems(
  lane: StoreLane,
  envelopes: readonly Candidate[],
): readonly BatchItem[] {
  const claim = new ClaimBuilder<Candidate>(unbounded, laneTraits[lane]);
  const separate: BatchItem[] = [];
  for (const one of envelopes) if (claim.add(one) !== 'added') separate.push([one]);
  return [...claim.items, ...separate];
}
