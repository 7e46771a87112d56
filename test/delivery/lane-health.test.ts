import { describe, expect, it } from 'vitest';
import { LaneHealth, LanePauses, type Pause } from '../../src/delivery/lane-state.js';
import type { Outcome } from '../../src/model/outcome.js';
import {
  blocked,
  delivered,
  pending,
  rejected,
  retryable,
  startMs,
  throttled,
  unattributed,
} from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';

function createHealth(maxCount = 1000) {
  const clock = createManualClock();
  const log = { info: () => undefined, warn: () => undefined };
  const pauses = new LanePauses({ lane: 'events', clock, log });
  const health = new LaneHealth({
    pauses,
    policy: { baseMs: 500, maxDelayMs: 60_000, maxAttempts: 0, maxAgeMs: 0 },
    concurrency: 8,
    bounds: { maxCount, maxBytes: 5_000_000 },
  });
  const note = (outcome: Outcome, random = 0): number =>
    health.noteOutcomes([outcome, outcome], random);
  const pause = (): Pause | undefined => pauses.list()[0];
  return { clock, health, note, pause };
}

describe('a healthy lane', () => {
  it.each([delivered, rejected, pending('job'), unattributed('pointer'), unattributed('bisect')])(
    'stays healthy after $kind, which is about the envelopes and not the lane',
    (outcome) => {
      const { health, note, pause } = createHealth();
      expect(note(outcome)).toBe(0);
      expect(pause()).toBeUndefined();
      expect(health.maxInFlight()).toBe(8);
      expect(health.bounds()).toMatchObject({ maxCount: 1000, maxBytes: 5_000_000 });
    },
  );

  it('continues after one or two failures', () => {
    const { note, pause } = createHealth();
    expect([note(retryable()), note(retryable())]).toEqual([0, 0]);
    expect(pause()).toBeUndefined();
    note(delivered);
    expect([note(retryable()), note(retryable())]).toEqual([0, 0]);
    expect(pause()).toBeUndefined();
  });
});

describe('a throttled lane', () => {
  it('pauses as long as Klaviyo requests, plus a random time', () => {
    const { note, pause } = createHealth();
    expect(note(throttled(7000), 0)).toBe(7000);
    const jittered = note(throttled(7000), 0.999);
    expect(jittered).toBeGreaterThan(7000);
    expect(jittered).toBeLessThan(8000);
    expect(pause()?.kind).toBe('throttled');
  });

  it('pauses at least a second, whatever Klaviyo requests', () => {
    expect(createHealth().note(throttled(0))).toBe(1000);
  });

  it('keeps its full batch size', () => {
    const { health, note, pause } = createHealth();
    note(throttled());
    expect(health.maxInFlight()).toBe(8);
    expect(health.bounds().maxCount).toBe(1000);
    note(delivered);
    expect(pause()).toBeUndefined();
  });
});

describe('a lane with repeated failures', () => {
  it('is in an outage from the third failure on, and sends small probes one at a time', () => {
    const { health, note, pause } = createHealth();
    note(retryable());
    note(retryable());
    expect(note(retryable())).toBeGreaterThan(0);
    expect(pause()).toMatchObject({ kind: 'outage', since: startMs });
    expect(health.maxInFlight()).toBe(1);
    expect(health.bounds().maxCount).toBe(10);
  });

  it('sends probes that are not larger than a batch', () => {
    const { health, note } = createHealth(4);
    for (let time = 0; time < 3; time++) note(retryable());
    expect(health.bounds().maxCount).toBe(4);
  });

  it('waits longer with each failure, up to the maximum delay, and never zero', () => {
    const { note } = createHealth();
    const pauses = Array.from({ length: 40 }, () => note(retryable(), 0));
    const waits = pauses.slice(2);
    expect(waits[0]).toBeGreaterThan(0);
    for (const [index, wait] of waits.entries()) {
      expect(wait).toBeGreaterThanOrEqual(waits[index - 1] ?? 0);
      expect(wait).toBeLessThanOrEqual(60_000);
    }
    expect(waits.at(-1)).toBe(30_000);
  });

  it('resumes after one success, and shows since when it was paused', async () => {
    const { clock, health, note, pause } = createHealth();
    for (let time = 0; time < 3; time++) note(retryable());
    await clock.advance(5000);
    note(retryable());
    expect(pause()?.since).toBe(startMs);
    note(delivered);
    expect(pause()).toBeUndefined();
    expect(health.bounds().maxCount).toBe(1000);
    expect(note(retryable())).toBe(0);
  });

  it('has no failure if Klaviyo recorded a part of the request', () => {
    const { health, pause } = createHealth();
    for (let time = 0; time < 5; time++) health.noteOutcomes([retryable(), delivered], 0);
    expect(pause()).toBeUndefined();
  });
});

describe('a blocked lane', () => {
  it('probes every few seconds at first and every few minutes later, and shows the reason', () => {
    const { health, note, pause } = createHealth();
    const pauses = Array.from({ length: 12 }, () => note(blocked, 0.999));
    expect(pauses[0]).toBeGreaterThan(2500);
    expect(pauses[0]).toBeLessThanOrEqual(5000);
    expect(pauses.at(-1)).toBeGreaterThan(150_000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(300_000);
    expect(pause()).toMatchObject({
      kind: 'blocked',
      reason: { code: 'not_authenticated' },
    });
    expect(health.maxInFlight()).toBe(1);
    expect(health.bounds().maxCount).toBe(10);
  });

  it('starts the time of a pause of another kind at its own start', async () => {
    const { clock, note, pause } = createHealth();
    note(blocked);
    await clock.advance(1000);
    note(throttled());
    expect(pause()).toMatchObject({ kind: 'throttled', since: startMs + 1000 });
  });
});
