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
