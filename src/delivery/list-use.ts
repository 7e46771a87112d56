import type { Clock } from '../clock.js';
import type { ListedImportJobs } from '../model/destination.js';

/** Between two readings of the list, for each request that the first one took: however many jobs are begun. */
const gapMs = 1000;
/** How long jobs are looked at by themselves after a list that was of no use; twice as long each time. */
const restMs = { first: 30_000, longest: 600_000 };

/** Decides when the list of open import jobs is read instead of looking at each job. */
export class ListPollPolicy {
  readonly #clock: Clock;
  /** Monotonic ms. */
  #nextAt = 0;
  #restUntil = 0;
  #restMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns true if reading the list now is worth it for so many jobs. */
  isOfUse(jobs: number): boolean {
    return this.#isOfUseAt(this.#clock.monotonic(), jobs);
  }

  /** When jobs are polled of which the first is due at `dueAt`: after a gap, if the list is read. */
  toPollAt(dueAt: number, jobs: number): number {
    return this.#isOfUseAt(dueAt, jobs) ? Math.max(dueAt, this.#nextAt) : dueAt;
  }

  /** Rests after an answer that was no list, and after one that took more requests than the looks it saved. */
  note({ open, end, requests }: ListedImportJobs): void {
    const now = this.#clock.monotonic();
    this.#nextAt = now + requests * gapMs;
    if (end === 'complete' || (end === 'partial' && open.length > requests)) {
      this.#restMs = 0;
      return;
    }
    this.#restMs = Math.min(restMs.longest, Math.max(restMs.first, 2 * this.#restMs));
    this.#restUntil = now + this.#restMs;
  }

  /** A single job is looked at by itself: that also says how it ended. */
  #isOfUseAt(at: number, jobs: number): boolean {
    return jobs > 1 && at >= this.#restUntil;
  }
}
