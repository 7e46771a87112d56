import { beforeEach, describe, expect, it } from 'vitest';
import { AcceptTimes } from '../../../src/store/journal/accept-times.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';

const hour = 3_600_000;

let clock: ManualClock;
let times: AcceptTimes;
/** Wall time at which each envelope was accepted, by number. */
let acceptedAt: Map<number, number>;

beforeEach(async () => {
  clock = createManualClock();
  await clock.advance(10_000);
  times = new AcceptTimes(clock);
  acceptedAt = new Map();
});

/** Accepts an envelope now. `isFirst`: no other is on disk only. */
function accept(seq: number, { isFirst = false } = {}): void {
  acceptedAt.set(seq, clock.now());
  times.record({ seq, acceptedAt: clock.now(), isFirst });
}

const age = (seq: number): number => times.ageMs({ seq, acceptedAt: acceptedAt.get(seq) ?? 0 });

describe('the age of an envelope of this process', () => {
  it('is the time since its acceptance, whatever the wall clock was set to meanwhile', async () => {
    accept(1, { isFirst: true });
    await clock.advance(2000);
    clock.jump(hour);
    accept(2);
    await clock.advance(3000);
    clock.jump(-5 * hour);
    accept(3);
    await clock.advance(4000);
    expect([1, 2, 3].map(age)).toEqual([9000, 7000, 4000]);
  });

  it('ignores a jump of the wall clock by a second at most', async () => {
    accept(1, { isFirst: true });
    clock.jump(1000);
    accept(2);
    await clock.advance(5000);
    expect([1, 2].map(age)).toEqual([5000, 4000]);
    clock.jump(1);
    accept(3);
    await clock.advance(5000);
    expect([1, 2, 3].map(age)).toEqual([10_000, 9000, 5000]);
  });

  it('compares the wall clock with its latest setting', async () => {
    accept(1, { isFirst: true });
    clock.jump(hour);
    accept(2);
    clock.jump(800);
    accept(3);
    await clock.advance(5000);
    expect([1, 2, 3].map(age)).toEqual([5000, 5000, 4200]);
  });

  it('is exact for the first one after all were loaded', async () => {
    accept(1, { isFirst: true });
    clock.jump(800);
    accept(2, { isFirst: true });
    await clock.advance(5000);
    expect(age(2)).toBe(5000);
  });

  it('is never negative', () => {
    accept(1, { isFirst: true });
    acceptedAt.set(1, clock.now() + hour);
    expect(age(1)).toBe(0);
  });
});

describe('the age of an envelope of an earlier process', () => {
  it('includes the time before this process began', async () => {
    acceptedAt.set(1, clock.now() - hour);
    await clock.advance(5000);
    expect(age(1)).toBe(hour + 5000);
  });

  it('is at least the time since this process began', async () => {
    acceptedAt.set(1, clock.now() + hour);
    await clock.advance(5000);
    expect(age(1)).toBe(5000);
    accept(2);
    await clock.advance(1000);
    expect([1, 2].map(age)).toEqual([6000, 1000]);
  });
});
