/** Refills steadily up to `burst`; every request takes one token. Time is monotonic ms. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor({ perSecond, burst }: { perSecond: number; burst: number }, now: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  tokens(now: number): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMs);
    this.#at = now;
    return this.#tokens;
  }

  waitMs(now: number): number {
    return Math.max(0, (1 - this.tokens(now)) / this.#perMs);
  }

  acquire(now: number): void {
    this.#tokens = this.tokens(now) - 1;
  }

  release(now: number): void {
    this.#tokens = Math.min(this.#burst, this.tokens(now) + 1);
  }
}
