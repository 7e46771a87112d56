import type { StoreLane, Parcel } from '../envelope.js';
import { Pick, type Candidate } from './pick.js';

const everything = { maxCount: Infinity, maxBytes: Infinity, suspectAfterAttempts: Infinity };

/**
 * The parcels that an import job's envelopes, oldest first, were sent in: the rule that made them
 * makes them again, since a parcel's envelopes have one fate, so all of them are here or none.
 */
export function toParcels(lane: StoreLane, held: readonly Candidate[]): readonly Parcel[] {
  const pick = new Pick<Candidate>(everything, lane === 'profiles');
  const apart: Parcel[] = [];
  for (const one of held) if (pick.offer(one) !== 'taken') apart.push([one]);
  return [...pick.parcels, ...apart];
}
