/** Envelopes `from` to `to` (inclusive) that one delivery settled the same way. */
export type SettledRange = {
  readonly from: number;
  readonly to: number;
  readonly deliveryId: string;
  readonly merged: boolean;
};

/**
 * Index of the delivery that settled each envelope, stored as ranges of numbers: a delivery of a thousand
 * neighbours costs one entry. An envelope is settled once, so ranges never overlap.
 */
export class RangeIndex {
  /** Ascending by `from`. Deliveries end nearly in order, so inserts are near the end. */
  #ranges: SettledRange[] = [];

  add(deliveryId: string, seqs: readonly number[], merged: boolean): void {
    for (const [from, to] of toRanges(seqs)) {
      this.#ranges.splice(this.#after(from), 0, { from, to, deliveryId, merged });
    }
  }

  find(seq: number): SettledRange | undefined {
    const range = this.#ranges[this.#after(seq) - 1];
    return range !== undefined && seq <= range.to ? range : undefined;
  }

  forget(deliveryIds: ReadonlySet<string>): void {
    if (deliveryIds.size === 0) return;
    this.#ranges = this.#ranges.filter((range) => !deliveryIds.has(range.deliveryId));
  }

  /** Index of the first range that starts above `seq`. */
  #after(seq: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.from ?? Infinity) <= seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** `[1, 2, 3, 7]` → `[[1, 3], [7, 7]]`; the input need not be sorted. */
export function toRanges(seqs: readonly number[]): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (const seq of [...seqs].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.[1] === seq - 1) last[1] = seq;
    else ranges.push([seq, seq]);
  }
  return ranges;
}
