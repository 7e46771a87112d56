import { storeLanes, type StoreLane } from '../../model/lane.js';
import { decay, toRetryAfterMs, type Amount, type Capacity } from '../admission.js';
import type { Backpressure } from '../../model/store.js';
import type { Session } from './session.js';

export const unavailable: Backpressure = { reason: 'unavailable', retryAfterMs: 1000 };
const lossy: Backpressure = { reason: 'lossy', retryAfterMs: 10_000 };
const closed: Backpressure = { reason: 'closed', retryAfterMs: 1000 };

export type RedisBackpressureOptions = {
  readonly session: Session;
  readonly capacity: Capacity;
  /** Returns true if acknowledged writes survive the end of the server; false while that is unknown. */
  readonly isDurable: () => boolean;
  /** Nothing is accepted unless the server is durable. */
  readonly requiresDurable: boolean;
};

/** Decides whether this relay accepts envelopes, from what it has read of the server so far. */
export class RedisBackpressure {
  readonly #options: RedisBackpressureOptions;
  #isClosed = false;

  constructor(options: RedisBackpressureOptions) {
    this.#options = options;
  }

  close(): void {
    this.#isClosed = true;
  }

  /** The reason why nothing is accepted, or null. */
  outage(): Backpressure | null {
    const { session, isDurable, requiresDurable } = this.#options;
    if (this.#isClosed) return closed;
    // After a pause of the process, callers of pending requests have long retried at another relay.
    if (session.outage !== null || !session.hasLease() || session.cachedState.state === null)
      return unavailable;
    return requiresDurable && !isDurable() ? lossy : null;
  }

  /** Backpressure for that amount; `isRejected` if the server has just rejected it because it is full. */
  of(wanted: Amount, isRejected: boolean): Backpressure | null {
    const outage = this.outage();
    const { session, capacity } = this.#options;
    const { state } = session.cachedState;
    if (outage !== null || state === null) return outage;
    if (!state.isFull && !isRejected) return null;
    const sum = (of: (lane: StoreLane) => number): number =>
      storeLanes.reduce((all, lane) => all + of(lane), 0);
    const held = {
      count: sum((lane) => state.lanes[lane].count),
      bytes: sum((lane) => state.lanes[lane].bytes),
    };
    const drained = decay(state.drained, state.at);
    return { reason: 'full', retryAfterMs: toRetryAfterMs(wanted, { held, drained }, capacity) };
  }
}
