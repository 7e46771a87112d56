import type { RateWindow } from '../../model/limiter.js';

/**
 * At most `limit` requests in any `windowMs` at the far side, whatever the latency: a request may
 * arrive any time between its start and its end, so its place is held until `windowMs` after its
 * END. That costs a little of the allowance (latency / windowMs) and makes the bound certain.
 */
export class SlidingWindow {
  readonly windowMs: number;
  readonly #configured: number;
  #limit: number;
  #inFlight = 0;
  /** When each ended request's place is free again, ascending. Foreign requests are here too. */
  #freeAt: number[] = [];

  constructor({ limit, windowMs }: RateWindow) {
    this.#configured = limit;
    this.#limit = limit;
    this.windowMs = windowMs;
  }

  get limit(): number {
    return this.#limit;
  }

  /** Places taken now, by requests in flight too. */
  used(now: number): number {
    this.#expire(now);
    return this.#inFlight + this.#freeAt.length;
  }

  /** Ms until a place is free; 0 where one is, Infinity where only an end can free one. */
  waitMs(now: number): number {
    const excess = this.used(now) - this.#limit;
    if (excess < 0) return 0;
    const freeAt = this.#freeAt[excess];
    return freeAt === undefined ? Infinity : Math.max(0, freeAt - now);
  }

  start(): void {
    this.#inFlight++;
  }

  end(now: number): void {
    this.#inFlight--;
    this.#freeAt.push(now + this.windowMs);
  }

  /** Undoes a start that led to no request. */
  cancel(): void {
    this.#inFlight--;
  }

  /** A request that this process did not make ended then, in the past; its place is held as if it had. */
  restoreRequest(endedAt: number): void {
    this.#freeAt.push(endedAt + this.windowMs);
    this.#freeAt.sort((a, b) => a - b);
  }

  /**
   * The spacing, in ms, at which requests can follow from now on for ever without standing still:
   * evenly over what is left, slower after a burst until its places come back.
   */
  evenSpacingMs(now: number): number {
    this.#expire(now);
    const left = this.#limit - this.#inFlight - this.#freeAt.length;
    const later = this.windowMs / this.#limit;
    return this.#freeAt.reduce(
      (spacing, freeAt, index) => Math.max(spacing, (freeAt - now) / Math.max(1, left + index + 1)),
      later,
    );
  }

  /** What Klaviyo announced last counts. More than the setting is not believed: that is the operator's. */
  announce(limit: number): void {
    this.#limit = Math.max(1, Math.min(this.#configured, limit));
  }

  /**
   * Klaviyo counts more requests than we made: others share the account. Their places are held for
   * `forMs`. Only what exceeds our own count is added, so our own requests are never counted twice.
   */
  noteUsed(used: number, now: number, forMs: number): void {
    const foreign = Math.min(used, this.#limit) - this.used(now);
    for (let index = 0; index < foreign; index++) this.#freeAt.push(now + forMs);
    if (foreign > 0) this.#freeAt.sort((a, b) => a - b);
  }

  #expire(now: number): void {
    const kept = this.#freeAt.findIndex((freeAt) => freeAt > now);
    if (kept === -1) this.#freeAt = [];
    else if (kept > 0) this.#freeAt.splice(0, kept);
  }
}
