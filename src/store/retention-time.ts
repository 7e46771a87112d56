import type { Clock } from '../clock.js';

/**
 * Wall time for retention, without the jumps of the wall clock while the process runs: a clock that is
 * fast for a moment must not make everything too old at once.
 */
export class RetentionTime {
  readonly #clock: Clock;
  readonly #offsetMs: number;

  /**
   * `newestAt`: when the newest of what is kept was written; null where nothing is. Between that and
   * now the clock may have jumped, so the time in between counts as `maxPauseMs` at most, and never
   * as negative.
   */
  constructor(clock: Clock, newestAt: number | null, maxPauseMs: number) {
    this.#clock = clock;
    const now = clock.now();
    const startAt =
      newestAt === null ? now : Math.min(Math.max(now, newestAt), newestAt + maxPauseMs);
    this.#offsetMs = startAt - clock.monotonic();
  }

  now(): number {
    return this.#offsetMs + this.#clock.monotonic();
  }
}
