import type { Clock } from '../../clock.js';
import { storeLanes, type StoreLane } from '../../model/lane.js';
import type { ClaimableState } from '../../model/envelope.js';
import type { Depth, LaneTotals } from '../../model/store.js';
import type { StoreState } from './view.js';

const nothing: ClaimableState = { count: 0, bytes: 0, oldestAgeMs: null, nextDueMs: null };

/**
 * How the buffer stood when this relay last asked, for whoever cannot wait for an answer. Every
 * script brings it up to date; what other relays did since shows at the next look.
 */
export class CachedState {
  readonly #clock: Clock;
  readonly #listeners = new Set<(lane: StoreLane) => void>();
  #view: StoreState | null = null;
  #askedAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get view(): StoreState | null {
    return this.#view;
  }

  /** `askedAt`, monotonic ms, is when the script was sent: what is due is then never seen too late. */
  take(view: StoreState, askedAt: number): void {
    const before = this.#view;
    this.#view = view;
    this.#askedAt = askedAt;
    for (const lane of storeLanes) {
      const [now, then] = [view.lanes[lane], before?.lanes[lane]];
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

  /** Ms until something falls due; null where nothing will. */
  nextDueMs(): number | null {
    const due = storeLanes.flatMap((lane) => this.#view?.lanes[lane].nextDueAt ?? []);
    return due.length === 0 ? null : Math.max(0, Math.min(...due) - this.#now());
  }

  waiting(lane: StoreLane): ClaimableState {
    if (this.#view === null) return nothing;
    const { ready, readyBytes, oldestReadyAt, nextDueAt } = this.#view.lanes[lane];
    const dueMs = nextDueAt === null ? null : nextDueAt - this.#now();
    return {
      count: ready,
      bytes: readyBytes,
      oldestAgeMs: oldestReadyAt === null ? null : Math.max(0, this.#now() - oldestReadyAt),
      // What is due shows with the look that is under way, which tells.
      nextDueMs: dueMs !== null && dueMs > 0 ? dueMs : null,
    };
  }

  depth(lane: StoreLane): Depth {
    const view = this.#view?.lanes[lane];
    const oldestAt = view?.oldestAt ?? null;
    return {
      count: view?.count ?? 0,
      bytes: view?.bytes ?? 0,
      oldestAgeMs: oldestAt === null ? null : Math.max(0, this.#now() - oldestAt),
      deadLetters: view?.deadLetters ?? 0,
    };
  }

  laneTotals(lane: StoreLane): LaneTotals {
    const view = this.#view?.lanes[lane];
    return {
      accepted: view?.accepted ?? 0,
      delivered: view?.delivered ?? 0,
      merged: view?.merged ?? 0,
      deadLettered: view?.deadLettered ?? 0,
    };
  }

  /** Ms by the clock that all relays share, as far as it is known. */
  #now(): number {
    return (this.#view?.at ?? 0) + this.#clock.monotonic() - this.#askedAt;
  }
}
