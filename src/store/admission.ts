import type { Clock } from '../clock.js';
import type { Backpressure } from '../model/store.js';

/** A full store accepts again when it is this empty, so that intake does not flap at the bound. */
export const reopenAt = 0.9;
/** Time constant of the drain rate, ms: long enough to bridge the gaps between deliveries. */
export const rateMemoryMs = 30_000;
const minRetryAfterMs = 1000;
const maxRetryAfterMs = 120_000;

export type Capacity = { readonly maxCount: number; readonly maxBytes: number };
export type Amount = { readonly count: number; readonly bytes: number };
/** What was settled recently. It decays, and divided by the time constant it is a rate. `at` in ms. */
export type Drained = Amount & { readonly at: number };

/** Bounds the store by count and bytes, and estimates when it will accept again. */
export class Admission {
  readonly #capacity: Capacity;
  readonly #clock: Clock;
  #count = 0;
  #bytes = 0;
  #full = false;
  #drained: Drained = { count: 0, bytes: 0, at: 0 };

  constructor(capacity: Capacity, clock: Clock) {
    this.#capacity = capacity;
    this.#clock = clock;
  }

  get capacityBytes(): number {
    return this.#capacity.maxBytes;
  }

  /** Returns null if that many envelopes fit. */
  backpressure(count = 0, bytes = 0): Backpressure | null {
    if (!this.#full) {
      const { maxCount, maxBytes } = this.#capacity;
      if (this.#count + count <= maxCount && this.#bytes + bytes <= maxBytes) return null;
      // A request that needs most of the store by itself is rejected and does not close the store for smaller ones.
      this.#full = !this.#isBelow(reopenAt);
    }
    const held = { count: this.#count, bytes: this.#bytes };
    const retryAfterMs = toRetryAfterMs(
      { count, bytes },
      { held, drained: this.#decayed() },
      this.#capacity,
    );
    return { reason: 'full', retryAfterMs };
  }

  add(count: number, bytes: number): void {
    this.#count += count;
    this.#bytes += bytes;
  }

  /** Takes back an addition that was a duplicate or could not be written. */
  giveBack(count: number, bytes: number): void {
    this.#count -= count;
    this.#bytes -= bytes;
    this.#reopen();
  }

  /** Records settled envelopes. */
  remove(count: number, bytes: number): void {
    this.giveBack(count, bytes);
    const drained = this.#decayed();
    this.#drained = { ...drained, count: drained.count + count, bytes: drained.bytes + bytes };
  }

  #reopen(): void {
    if (this.#full && this.#isBelow(reopenAt)) this.#full = false;
  }

  #isBelow(share: number): boolean {
    const { maxCount, maxBytes } = this.#capacity;
    return this.#count <= maxCount * share && this.#bytes <= maxBytes * share;
  }

  #decayed(): Drained {
    return decay(this.#drained, this.#clock.monotonic());
  }
}

export function decay({ count, bytes, at: before }: Drained, at: number): Drained {
  const factor = Math.exp((before - at) / rateMemoryMs);
  return { count: count * factor, bytes: bytes * factor, at };
}

/** Estimates the time until intake reopens and the request fits, at the recent drain rate. */
export function toRetryAfterMs(
  wanted: Amount,
  { held, drained }: { readonly held: Amount; readonly drained: Drained },
  { maxCount, maxBytes }: Capacity,
): number {
  const count = held.count - Math.min(maxCount * reopenAt, maxCount - wanted.count);
  const bytes = held.bytes - Math.min(maxBytes * reopenAt, maxBytes - wanted.bytes);
  const longest = Math.max(drainMs(count, drained.count), drainMs(bytes, drained.bytes));
  return Math.min(maxRetryAfterMs, Math.max(minRetryAfterMs, Math.ceil(longest)));
}

/** Infinite if nothing drained recently. */
function drainMs(excess: number, drainedOfLate: number): number {
  return excess <= 0 ? 0 : excess / (drainedOfLate / rateMemoryMs);
}
