import type { Receipt } from '../../model/store.js';
import { fromId } from '../ids.js';
import type { JournalState } from './journal-state.js';
import type { Totals } from './totals.js';

/** Returns the state of an envelope; null if it is unknown or its receipt has expired. Throws DamagedError. */
export function readReceipt(id: string, state: JournalState, totals: Totals): Receipt | null {
  const number = fromId(id);
  if (number?.epoch !== state.epoch) return null;
  const { lane, seq } = number;
  const base = { id, lane, deliveryId: null, reason: null, merged: false };
  const unsettled = state.lanes[lane].find(id);
  if (unsettled !== undefined) {
    const state = unsettled.inFlight ? 'in_flight' : 'buffered';
    return { ...base, state, ...unsettled.queued.lastTry };
  }
  if (state.lanes[lane].backlog.has(seq)) return { ...base, state: 'buffered' };
  const deadLetter = state.deadLetters.find(id);
  if (deadLetter !== null) {
    const { deliveryId, reason } = deadLetter;
    return { ...base, state: 'dead_lettered', deliveryId, reason };
  }
  const settled = state.deliveryLog.settledBy(lane, seq, totals);
  return settled && { ...base, state: 'delivered', ...settled };
}
