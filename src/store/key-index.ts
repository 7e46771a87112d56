/** The numbers of envelopes by key. Nearly every key has one. */
export class KeyIndex {
  readonly #seqs = new Map<string, number | number[]>();

  get isEmpty(): boolean {
    return this.#seqs.size === 0;
  }

  /** The smallest number; undefined if the key has none. */
  first(key: string): number | undefined {
    const seqs = this.#seqs.get(key);
    return typeof seqs === 'object' ? seqs[0] : seqs;
  }

  add(keys: readonly string[], seq: number): void {
    for (const key of keys) {
      const seqs = this.#seqs.get(key);
      if (seqs === undefined) this.#seqs.set(key, seq);
      else if (typeof seqs === 'number')
        this.#seqs.set(key, [Math.min(seqs, seq), Math.max(seqs, seq)]);
      // Only a redriven dead letter is older than the others.
      else seqs.splice(findPlace(seqs, seq), 0, seq);
    }
  }

  remove(keys: readonly string[], seq: number): void {
    for (const key of keys) {
      const seqs = this.#seqs.get(key);
      if (typeof seqs === 'object') {
        const place = findPlace(seqs, seq);
        if (seqs[place] === seq) seqs.splice(place, 1);
        if (seqs.length === 0) this.#seqs.delete(key);
      } else if (seqs === seq) this.#seqs.delete(key);
    }
  }
}

/** The index of the first number that is not below `seq`. */
function findPlace(seqs: readonly number[], seq: number): number {
  let [from, to] = [0, seqs.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((seqs[middle] ?? Infinity) < seq) from = middle + 1;
    else to = middle;
  }
  return from;
}
