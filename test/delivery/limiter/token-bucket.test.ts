import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenBucket } from '../../../src/delivery/limiter/limiter.js';

describe('TokenBucket', () => {
  it('starts full, refills steadily, and never has more than its burst', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 2 }, 0);
    bucket.acquire(0);
    bucket.acquire(0);
    expect(bucket.waitMs(0)).toBeCloseTo(100);
    expect(bucket.waitMs(60)).toBeCloseTo(40);
    expect(bucket.waitMs(100)).toBeCloseTo(0);
    expect(bucket.tokens(3_600_000)).toBe(2);
  });

  it('accepts released tokens up to its burst', () => {
    const bucket = new TokenBucket({ perSecond: 1, burst: 1 }, 0);
    bucket.acquire(0);
    bucket.release(0);
    bucket.release(0);
    expect(bucket.tokens(0)).toBe(1);
  });

  it('has one token more after one was released', () => {
    const bucket = new TokenBucket({ perSecond: 1, burst: 3 }, 0);
    for (let count = 0; count < 3; count++) bucket.acquire(0);
    bucket.release(0);
    expect(bucket.tokens(0)).toBe(1);
  });

  it('grants in any interval at most its burst plus the refill of that interval', () => {
    const rates = fc.record({
      perSecond: fc.integer({ min: 1, max: 500 }),
      burst: fc.integer({ min: 1, max: 50 }),
      idles: fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 80 }),
    });
    fc.assert(
      fc.property(rates, ({ perSecond, burst, idles }) => {
        const bucket = new TokenBucket({ perSecond, burst }, 0);
        const taken: number[] = [];
        let now = 0;
        for (const idleMs of idles) {
          now += idleMs;
          now += bucket.waitMs(now);
          bucket.acquire(now);
          taken.push(now);
        }
        taken.forEach((from, first) => {
          taken.slice(first).forEach((to, count) => {
            expect(count + 1).toBeLessThanOrEqual(burst + ((to - from) * perSecond) / 1000 + 1e-6);
          });
        });
      }),
    );
  });
});
