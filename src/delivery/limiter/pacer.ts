import { SlidingWindow } from './sliding-window.js';
import type { RateFeedback, RateWindow } from '../../model/limiter.js';

/** How many requests may leave at once after an idle spell where no shorter window says so. */
const burstShare = 1 / 15;

/**
 * One endpoint's windows and its pace. The longest window (steady) is spent evenly: after an idle
 * spell a burst may leave at once, and from then on one per even spacing. Without windows there is no pace.
 */
export class Pacer {
  readonly #windows: readonly SlidingWindow[];
  readonly #steady: SlidingWindow | undefined;
  /** When the next request is due at the even pace; in the past after an idle spell. */
  #dueAt = -Infinity;
  #spacingMs = 0;

  constructor(windows: readonly RateWindow[]) {
    this.#windows = windows
      .map((window) => new SlidingWindow(window))
      .sort((a, b) => a.windowMs - b.windowMs);
    this.#steady = this.#windows.at(-1);
  }

  waitMs(now: number): number {
    if (this.#steady === undefined) return 0;
    const paceMs = this.#dueAt - (this.#burst() - 1) * this.#spacingMs - now;
    return Math.max(0, paceMs, ...this.#windows.map((window) => window.waitMs(now)));
  }

  start(now: number): void {
    for (const window of this.#windows) window.start();
    if (this.#steady === undefined) return;
    this.#spacingMs = this.#steady.evenSpacingMs(now);
    this.#dueAt = Math.max(now, this.#dueAt) + this.#spacingMs;
  }

  end(now: number): void {
    for (const window of this.#windows) window.end(now);
  }

  cancel(): void {
    for (const window of this.#windows) window.cancel();
    this.#dueAt -= this.#spacingMs;
  }

  restoreRequest(endedAt: number): void {
    for (const window of this.#windows) window.restoreRequest(endedAt);
  }

  /** After a pause requests come back at the even pace, not in a burst. */
  resumeAt(at: number): void {
    if (this.#steady === undefined) return;
    this.#dueAt = Math.max(this.#dueAt, at + (this.#burst() - 1) * this.#spacingMs);
  }

  correct(feedback: RateFeedback, now: number): void {
    for (const announced of feedback.windows) {
      this.#windows
        .find(({ windowMs }) => windowMs === announced.windowMs)
        ?.announce(announced.limit);
    }
    const { remaining, remainingOf, resetMs } = feedback;
    if (remaining === null || remainingOf === null) return;
    const window = this.#windows.find(({ limit }) => limit === remainingOf);
    if (window === undefined) return;
    const forMs =
      resetMs !== null && resetMs > 0 ? Math.min(resetMs, window.windowMs) : window.windowMs;
    window.noteUsed(remainingOf - remaining, now, forMs);
  }

  /**
   * How many may leave at once after an idle spell: what the shortest window allows beside the
   * requests that follow at the even pace, so that the burst is not paid for by standing still.
   */
  #burst(): number {
    const [shortest, ...longer] = this.#windows;
    if (shortest === undefined || this.#steady === undefined) return 1;
    if (longer.length === 0) return Math.max(1, Math.floor(shortest.limit * burstShare));
    const evenMs = this.#steady.windowMs / this.#steady.limit;
    return Math.max(1, shortest.limit - Math.ceil(shortest.windowMs / evenMs));
  }
}
