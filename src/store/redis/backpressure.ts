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
  /** Whether what the server acknowledges survives the server; false until that is known. */
  readonly isDurable: () => boolean;
  /** Takes nothing while that is not so. */
  readonly requiresDurable: boolean;
};

/** What a relay refuses before it asks the server, and why. */
export class RedisBackpressure {
  readonly #options: RedisBackpressureOptions;
  #isClosed = false;

  constructor(options: RedisBackpressureOptions) {
    this.#options = options;
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Why nothing is kept at all. */
  outage(): Backpressure | null {
    const { session, isDurable, requiresDurable } = this.#options;
    if (this.#isClosed) return closed;
    // A process that stood still finds posts whose callers have long asked another relay, and gone on.
    if (session.trouble !== null || !session.hasLease() || session.mirror.view === null)
      return unavailable;
    return requiresDurable && !isDurable() ? lossy : null;
  }

  /** Of so much; `wasRefused` where the server has no room for it. */
  of(wanted: Amount, wasRefused: boolean): Backpressure | null {
    const outage = this.outage();
    const { session, capacity } = this.#options;
    const { view } = session.mirror;
    if (outage !== null || view === null) return outage;
    if (!view.isFull && !wasRefused) return null;
    const sum = (of: (lane: StoreLane) => number): number =>
      storeLanes.reduce((all, lane) => all + of(lane), 0);
    const held = {
      count: sum((lane) => view.lanes[lane].count),
      bytes: sum((lane) => view.lanes[lane].bytes),
    };
    const drained = decay(view.drained, view.at);
    return { reason: 'full', retryAfterMs: toRetryAfterMs(wanted, { held, drained }, capacity) };
  }
}
