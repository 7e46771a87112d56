import type { Receipt } from '../../model/store.js';
import { fromId } from '../ids.js';
import type { StageParts } from './stage-deps.js';
import type { Totals } from './totals.js';

/** Where an envelope is now; null where it is not known, or not any more. Throws DamagedError. */
export function readReceipt(id: string, parts: StageParts, totals: Totals): Receipt | null {
  const number = fromId(id);
  if (number?.epoch !== parts.epoch) return null;
  const { lane, seq } = number;
  const base = { id, lane, deliveryId: null, reason: null, merged: false };
  const unsettled = parts.lanes[lane].find(id);
  if (unsettled !== undefined) {
    const state = unsettled.inFlight ? 'in_flight' : 'buffered';
    return { ...base, state, ...unsettled.queued.lastTry };
  }
  if (parts.lanes[lane].backlog.has(seq)) return { ...base, state: 'buffered' };
  const letter = parts.letters.find(id);
  if (letter !== null) {
    const { deliveryId, reason } = letter;
    return { ...base, state: 'dead_lettered', deliveryId, reason };
  }
  const settled = parts.log.settledBy(lane, seq, totals);
  return settled && { ...base, state: 'delivered', ...settled };
}
