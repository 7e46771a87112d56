import { describe, expect, it } from 'vitest';
import { Admission, type Capacity } from '../../src/store/admission.js';
import { createManualClock } from '../support/manual-clock.js';

function createAdmission(capacity: Partial<Capacity> = {}) {
  const clock = createManualClock();
  const admission = new Admission({ maxCount: 100, maxBytes: 10_000, ...capacity }, clock);
  return { clock, admission };
}

describe('Admission', () => {
  it('admits envelopes up to exactly its bounds by count and by bytes', () => {
    const { admission } = createAdmission();
    expect(admission.backpressure(100, 10_000)).toBeNull();
    expect(admission.backpressure(101, 1)?.reason).toBe('full');
    expect(admission.backpressure(1, 10_001)?.reason).toBe('full');
    expect(admission.capacityBytes).toBe(10_000);
  });

  it('reports no backpressure at exactly its bounds until a request is refused', () => {
    const { admission } = createAdmission();
    admission.add(100, 10_000);
    expect(admission.backpressure()).toBeNull();
    expect(admission.backpressure(1, 1)).not.toBeNull();
    expect(admission.backpressure()).not.toBeNull();
  });

  it('stays closed for the smallest request until count and bytes are both below the reopening share', () => {
    const { admission } = createAdmission();
    admission.add(95, 9500);
    expect(admission.backpressure(1, 1)).toBeNull();
    expect(admission.backpressure(6, 1)).not.toBeNull();
    expect(admission.backpressure(1, 1)).not.toBeNull();
    admission.remove(10, 100);
    expect(admission.backpressure(1, 1)).not.toBeNull();
    admission.remove(1, 400);
    expect(admission.backpressure(1, 1)).toBeNull();
  });

  it('admits one envelope at a time with a capacity of one', () => {
    const { admission } = createAdmission({ maxCount: 1 });
    admission.add(1, 1);
    expect(admission.backpressure(1, 1)).not.toBeNull();
    admission.remove(1, 1);
    expect(admission.backpressure(1, 1)).toBeNull();
  });

  it('returns a wait within its bounds for any input', () => {
    const { admission } = createAdmission();
    admission.add(100, 100);
    expect(admission.backpressure(1, 1)?.retryAfterMs).toBe(120_000);
    admission.remove(1, 1);
    const afterOne = admission.backpressure(1, 1)?.retryAfterMs ?? NaN;
    expect(afterOne).toBeGreaterThanOrEqual(1000);
    expect(afterOne).toBeLessThanOrEqual(120_000);
    expect(admission.backpressure(1_000_000, 1)?.retryAfterMs).toBeLessThanOrEqual(120_000);
    admission.remove(9, 9);
    expect(admission.backpressure(1, 1)).toBeNull();
  });

  it.each([
    ['count', { maxCount: 1 }],
    ['bytes', { maxBytes: 1 }],
  ])('returns the longest wait if it is full by %s and nothing was settled', (_bound, capacity) => {
    const { admission } = createAdmission(capacity);
    admission.add(1, 1);
    expect(admission.backpressure(1, 1)?.retryAfterMs).toBe(120_000);
  });

  it('returns the longest wait if nothing was settled and the count is exactly the reopening share', () => {
    const { admission } = createAdmission();
    admission.add(90, 10_000);
    expect(admission.backpressure(0, 1)?.retryAfterMs).toBe(120_000);
  });

  describe.each(['count', 'bytes'] as const)('with 300 settled and full by %s', (bound) => {
    /** Holds 1000 of 1000 by the bound under test, after 300 were settled. The other bound is far away. */
    function fill() {
      const capacity = { maxCount: 1_000_000, maxBytes: 1_000_000 };
      const under = createAdmission({
        ...capacity,
        [bound === 'count' ? 'maxCount' : 'maxBytes']: 1000,
      });
      const one = (amount: number): [number, number] =>
        bound === 'count' ? [amount, 1] : [1, amount];
      under.admission.add(...one(500));
      under.admission.remove(...one(100));
      under.admission.remove(...one(200));
      under.admission.add(...one(800));
      const readWaitMs = (amount: number): number | undefined =>
        under.admission.backpressure(...one(amount))?.retryAfterMs;
      return { ...under, readWaitMs };
    }

    it('returns the time in which the store drains to its reopening share', () => {
      const { readWaitMs } = fill();
      // 100 of 1000 at 300 in 30 s.
      expect(readWaitMs(1)).toBe(10_000);
      expect(readWaitMs(0)).toBe(10_000);
    });

    it('returns the time in which a large request fits', () => {
      const { readWaitMs } = fill();
      expect(readWaitMs(500)).toBe(50_000);
    });

    it('rounds the time up after the rate has decayed', async () => {
      const { readWaitMs, clock } = fill();
      await clock.advance(30_000);
      expect(readWaitMs(1)).toBe(Math.ceil(10_000 * Math.E));
    });
  });

  it('returns a longer wait after a time without settlements', async () => {
    const { admission, clock } = createAdmission({ maxCount: 1000 });
    for (let second = 0; second < 60; second++) {
      admission.add(10, 10);
      admission.remove(10, 10);
      await clock.advance(1000);
    }
    admission.add(1000, 1000);
    const atOnce = admission.backpressure(1, 1)?.retryAfterMs ?? NaN;
    await clock.advance(30_000);
    const later = admission.backpressure(1, 1)?.retryAfterMs ?? NaN;
    expect(later / atOnce).toBeCloseTo(Math.E, 1);
  });
});
