import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RangeIndex, toRanges } from '../../src/store/range-index.js';

describe('toRanges', () => {
  it('joins neighbours, in whatever order they come', () => {
    expect(toRanges([])).toEqual([]);
    expect(toRanges([7])).toEqual([[7, 7]]);
    expect(toRanges([3, 1, 2, 7, 9, 8])).toEqual([
      [1, 3],
      [7, 9],
    ]);
  });
});

describe('RangeIndex', () => {
  it('finds the delivery of each number, and none between', () => {
    const index = new RangeIndex();
    index.add('dl_1', [1, 2, 3], false);
    index.add('dl_2', [5], true);
    expect(index.find(2)).toMatchObject({ deliveryId: 'dl_1', merged: false });
    expect(index.find(5)).toMatchObject({ deliveryId: 'dl_2', merged: true });
    expect(index.find(4)).toBeUndefined();
    expect(index.find(0)).toBeUndefined();
    expect(index.find(6)).toBeUndefined();
  });

  it('agrees with a map, whatever was settled by whom in which order and then forgotten', () => {
    const deliveries = fc.array(fc.uniqueArray(fc.nat(60), { maxLength: 20 }), { maxLength: 12 });
    fc.assert(
      fc.property(deliveries, fc.uniqueArray(fc.nat(12)), (settled, forgotten) => {
        const index = new RangeIndex();
        const map = new Map<number, string>();
        settled.forEach((seqs, number) => {
          const fresh = seqs.filter((seq) => !map.has(seq));
          index.add(`dl_${number}`, fresh, false);
          for (const seq of fresh) map.set(seq, `dl_${number}`);
        });
        const gone = new Set(forgotten.map((number) => `dl_${number}`));
        index.forget(gone);
        for (let seq = 0; seq <= 61; seq++) {
          const expected = map.get(seq);
          const isGone = expected === undefined || gone.has(expected);
          expect(index.find(seq)?.deliveryId).toBe(isGone ? undefined : expected);
        }
      }),
    );
  });
});
