import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SlidingWindow } from '../../../src/delivery/limiter/limiter.js';

const aWindow = (limit = 2, windowMs = 1000): SlidingWindow =>
  new SlidingWindow({ limit, windowMs });

describe('SlidingWindow', () => {
  it('keeps a place from the start of a request until a window after its end', () => {
    const window = aWindow(1);
    expect(window.waitMs(0)).toBe(0);
    window.start();
    expect(window.waitMs(500)).toBe(Infinity);
    window.end(700);
    expect(window.waitMs(700)).toBe(1000);
    expect(window.waitMs(1699)).toBe(1);
    expect(window.waitMs(1700)).toBe(0);
    expect(window.used(1700)).toBe(0);
  });

  it('returns the wait for the place that becomes free first', () => {
    const window = aWindow(2);
    window.start();
    window.start();
    window.end(100);
    expect(window.waitMs(100)).toBe(1000);
    window.end(300);
    expect(window.waitMs(300)).toBe(800);
    expect(window.used(1100)).toBe(1);
  });

  it('frees the place of a cancelled request at once', () => {
    const window = aWindow(1);
    window.start();
    window.cancel();
    expect(window.waitMs(0)).toBe(0);
  });

  it('applies the limit announced last, at most the setting and at least one', () => {
    const window = aWindow(5);
    window.announce(3);
    expect(window.limit).toBe(3);
    window.announce(4);
    expect(window.limit).toBe(4);
    window.announce(6);
    expect(window.limit).toBe(5);
    window.announce(0);
    expect(window.limit).toBe(1);
  });

  it('waits until the excess requests have expired after the limit was lowered', () => {
    const window = aWindow(3);
    for (const at of [0, 10, 20]) {
      window.start();
      window.end(at);
    }
    window.announce(1);
    // All three must have expired before a request fits.
    expect(window.waitMs(20)).toBe(1000);
  });

  it('counts the requests of other clients, and its own never twice', () => {
    const window = aWindow(10);
    window.start();
    window.start();
    window.end(0);
    window.noteUsed(2, 0, 400);
    expect(window.used(0)).toBe(2);
    window.noteUsed(5, 0, 400);
    expect(window.used(0)).toBe(5);
    expect(window.used(400)).toBe(2);
    window.noteUsed(99, 400, 400);
    expect(window.used(400)).toBe(10);
  });

  it('returns an even spacing for an empty window, and a wider one after a burst', () => {
    const window = aWindow(10, 10_000);
    expect(window.evenSpacingMs(0)).toBe(1000);
    for (let count = 0; count < 8; count++) {
      window.start();
      window.end(0);
    }
    // Two places are left, and another one is free in 10 s: three requests in 10 s.
    expect(window.evenSpacingMs(0)).toBeCloseTo(10_000 / 3);
    expect(window.evenSpacingMs(10_000)).toBe(1000);
  });

  it('frees the places of restored requests in the order in which they ended', () => {
    const window = aWindow(3);
    window.addEndedRequests([500, 100, 300]);
    expect(window.waitMs(600)).toBe(500);
    expect(window.used(1200)).toBe(2);
    expect(window.used(1400)).toBe(1);
  });

  it('frees the places of other clients before its own if these end later', () => {
    const window = aWindow(2);
    window.start();
    window.end(0);
    window.noteUsed(2, 0, 400);
    expect(window.waitMs(0)).toBe(400);
    expect(window.used(400)).toBe(1);
  });

  it('returns a finite spacing if the limit falls below the occupied places', () => {
    const window = aWindow(3);
    for (const at of [0, 10, 20]) {
      window.start();
      window.end(at);
    }
    window.announce(1);
    expect(window.evenSpacingMs(20)).toBe(1000);
  });

  it('never makes a request wait that keeps the spacing it returned', () => {
    const bursts = fc.record({
      limit: fc.integer({ min: 1, max: 30 }),
      burst: fc.nat(30),
      steps: fc.integer({ min: 1, max: 100 }),
    });
    fc.assert(
      fc.property(bursts, ({ limit, burst, steps }) => {
        const window = aWindow(limit, 1000);
        let now = 0;
        for (let count = 0; count < Math.min(burst, limit - 1); count++) {
          window.start();
          window.end(now);
        }
        for (let step = 0; step < steps; step++) {
          expect(window.waitMs(now)).toBeLessThan(0.001);
          // Klaviyo responds at once, so only the spacing decides.
          window.start();
          const spacingMs = window.evenSpacingMs(now);
          window.end(now);
          now += spacingMs + 1e-6;
        }
      }),
    );
  });
});
