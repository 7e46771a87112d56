import type { Clock } from '../../clock.js';
import { storeLanes, type StoreLane } from '../../model/lane.js';
import type { ClaimableState } from '../../model/envelope.js';
import type { Depth, LaneTotals } from '../../model/store.js';
import type { StoreState } from './store-state.js';

const nothing: ClaimableState = { count: 0, bytes: 0, oldestAgeMs: null, nextDueMs: null };

/**
 * The state of the store as of this relay's last script, for callers that cannot wait for a reply. Changes by other
 * relays appear with the next heartbeat.
 */
export class CachedState {
  readonly #clock: Clock;
  readonly #listeners = new Set<(lane: StoreLane) => void>();
  #state: StoreState | null = null;
  #askedAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get state(): StoreState | null {
    return this.#state;
  }

  /** `askedAt`, monotonic ms, is when the script was sent, so that nothing is considered due too late. */
  update(state: StoreState, askedAt: number): void {
    const before = this.#state;
    this.#state = state;
    this.#askedAt = askedAt;
    for (const lane of storeLanes) {
      const [now, then] = [state.lanes[lane], before?.lanes[lane]];
      const hasMore = now.ready > (then?.ready ?? 0) || now.nextDueAt !== (then?.nextDueAt ?? null);
      if (hasMore) this.notify(lane);
    }
  }

  onClaimable(listener: (lane: StoreLane) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  notify(lane: StoreLane): void {
    for (const listener of this.#listeners) listener(lane);
  }

  /** Ms until the next delayed envelope is due; null if none is delayed. */
  nextDueMs(): number | null {
    const due = storeLanes.flatMap((lane) => this.#state?.lanes[lane].nextDueAt ?? []);
    return due.length === 0 ? null : Math.max(0, Math.min(...due) - this.#now());
  }

  waiting(lane: StoreLane): ClaimableState {
    if (this.#state === null) return nothing;
    const { ready, readyBytes, oldestReadyAt, nextDueAt } = this.#state.lanes[lane];
    const dueMs = nextDueAt === null ? null : nextDueAt - this.#now();
    return {
      count: ready,
      bytes: readyBytes,
      oldestAgeMs: oldestReadyAt === null ? null : Math.max(0, this.#now() - oldestReadyAt),
      // What is due becomes claimable with the heartbeat that is due now, too.
      nextDueMs: dueMs !== null && dueMs > 0 ? dueMs : null,
    };
  }

  depth(lane: StoreLane): Depth {
    const state = this.#state?.lanes[lane];
    const oldestAt = state?.oldestAt ?? null;
    return {
      count: state?.count ?? 0,
      bytes: state?.bytes ?? 0,
      oldestAgeMs: oldestAt === null ? null : Math.max(0, this.#now() - oldestAt),
      deadLetters: state?.deadLetters ?? 0,
    };
  }

  laneTotals(lane: StoreLane): LaneTotals {
    const state = this.#state?.lanes[lane];
    return {
      accepted: state?.accepted ?? 0,
      delivered: state?.delivered ?? 0,
      merged: state?.merged ?? 0,
      deadLettered: state?.deadLettered ?? 0,
      erased: state?.erased ?? 0,
    };
  }

  /** The steady time of the server, ms, estimated since the last script. */
  #now(): number {
    return (this.#state?.at ?? 0) + this.#clock.monotonic() - this.#askedAt;
  }
}
