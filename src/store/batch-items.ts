import type { StoreLane } from '../model/lane.js';
import type { BatchItem } from '../model/envelope.js';
import { ClaimBuilder, type Candidate } from './claim-builder.js';

const everything = { maxCount: Infinity, maxBytes: Infinity, isolateAfterAttempts: Infinity };

/**
 * The items that an import job's envelopes, oldest first, were sent in: the rule that made them
 * makes them again, since a item's envelopes have one fate, so all of them are here or none.
 */
export function toBatchItems(lane: StoreLane, held: readonly Candidate[]): readonly BatchItem[] {
  const claim = new ClaimBuilder<Candidate>(everything, lane === 'profiles');
  const separate: BatchItem[] = [];
  for (const one of held) if (claim.add(one) !== 'added') separate.push([one]);
  return [...claim.items, ...separate];
}
