/** Envelopes and their payload bytes. */
type Amount = { readonly count: number; readonly bytes: number };

export type WaitingBoundsOptions = {
  readonly maxCount: number;
  readonly maxBytes: number;
  /** Of what waits in the store. */
  readonly depth: () => Amount;
};

/** Says whether one more entry may wait. What waits must leave room for what is sent, or nothing of it could go on. */
export class WaitingBounds {
  readonly #options: WaitingBoundsOptions;
  /** Of requests under way. */
  #reserved: Amount = { count: 0, bytes: 0 };

  constructor(options: WaitingBoundsOptions) {
    this.#options = options;
  }

  /** To be called for each entry that waits, and `release` once it is in the store or refused. */
  reserve(bytes: number): boolean {
    const { maxCount, maxBytes, depth } = this.#options;
    const held = depth();
    const count = held.count + this.#reserved.count;
    if (count >= maxCount || held.bytes + this.#reserved.bytes + bytes > maxBytes) return false;
    this.#add({ count: 1, bytes });
    return true;
  }

  release({ count, bytes }: Amount): void {
    this.#add({ count: -count, bytes: -bytes });
  }

  #add({ count, bytes }: Amount): void {
    this.#reserved = {
      count: this.#reserved.count + count,
      bytes: this.#reserved.bytes + bytes,
    };
  }
}
