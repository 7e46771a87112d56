import { describe, expect, it } from 'vitest';
import { createRing } from '../../src/sandbox/ring.js';

describe('a ring', () => {
  const fill = (max: number, count: number) => {
    const ring = createRing<number>(max);
    for (let entry = 1; entry <= count; entry++) ring.push(entry);
    return ring;
  };

  it('keeps the newest entries and counts all of them', () => {
    const ring = fill(3, 5);
    expect(ring.all()).toEqual([3, 4, 5]);
    expect(ring.newest(2)).toEqual([5, 4]);
    expect(ring.total()).toBe(5);
  });

  it('keeps nothing with a bound of zero', () => {
    const ring = fill(0, 2);
    ring.remove(() => true);
    expect([ring.all(), ring.newest(1), ring.total()]).toEqual([[], [], 2]);
  });

  it.each([2, 3, 4, 7])('keeps its order and bound after a removal from %i entries', (count) => {
    const ring = fill(3, count);
    ring.remove((entry) => entry === count - 1);
    const kept = Array.from({ length: count }, (_, index) => index + 1)
      .slice(-3)
      .filter((entry) => entry !== count - 1);
    expect(ring.all()).toEqual(kept);
    for (const entry of [10, 11, 12]) ring.push(entry);
    expect(ring.all()).toEqual([10, 11, 12]);
    ring.push(13);
    expect(ring.newest(3)).toEqual([13, 12, 11]);
    expect(ring.total()).toBe(count + 4);
  });
});
