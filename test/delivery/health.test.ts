import { describe, expect, it } from 'vitest';
import { LaneHealth } from '../../src/delivery/health.js';
import { LanePauses, type Pause } from '../../src/delivery/pauses.js';
import type { Outcome } from '../../src/model/outcome.js';
import {
  blocked,
  delivered,
  pending,
  rejected,
  retryable,
  startMs,
  throttled,
  unblamed,
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

describe('a lane that does well', () => {
  it.each([delivered, rejected, pending('job'), unblamed('pointer'), unblamed('bisect')])(
    'may try everything: $kind is an answer about the envelopes, not the lane',
    (outcome) => {
      const { health, note, pause } = createHealth();
      expect(note(outcome)).toBe(0);
      expect(pause()).toBeUndefined();
      expect(health.maxInFlight()).toBe(8);
      expect(health.bounds()).toMatchObject({ maxCount: 1000, maxBytes: 5_000_000 });
    },
  );

  it('goes on after a failure or two', () => {
    const { note, pause } = createHealth();
    expect([note(retryable()), note(retryable())]).toEqual([0, 0]);
    expect(pause()).toBeUndefined();
    note(delivered);
    expect([note(retryable()), note(retryable())]).toEqual([0, 0]);
    expect(pause()).toBeUndefined();
  });
});

describe('a lane that was throttled', () => {
  it('pauses for what it was told, and a little more so that not all come back at once', () => {
    const { note, pause } = createHealth();
    expect(note(throttled(7000), 0)).toBe(7000);
    const jittered = note(throttled(7000), 0.999);
    expect(jittered).toBeGreaterThan(7000);
    expect(jittered).toBeLessThan(8000);
    expect(pause()?.kind).toBe('throttled');
  });

  it('pauses at least a second, whatever it was told', () => {
    expect(createHealth().note(throttled(0))).toBe(1000);
  });

  it('keeps its full size: the far side is well', () => {
    const { health, note, pause } = createHealth();
    note(throttled());
    expect(health.maxInFlight()).toBe(8);
    expect(health.bounds().maxCount).toBe(1000);
    note(delivered);
    expect(pause()).toBeUndefined();
  });
});

describe('a lane that fails again and again', () => {
  it('counts as an outage from the third time on, and probes with little, one at a time', () => {
    const { health, note, pause } = createHealth();
    note(retryable());
    note(retryable());
    expect(note(retryable())).toBeGreaterThan(0);
    expect(pause()).toMatchObject({ kind: 'outage', since: startMs });
    expect(health.maxInFlight()).toBe(1);
    expect(health.bounds().maxCount).toBe(10);
  });

  it('probes with no more than a batch may hold', () => {
    const { health, note } = createHealth(4);
    for (let time = 0; time < 3; time++) note(retryable());
    expect(health.bounds().maxCount).toBe(4);
  });

  it('waits longer with each failure, up to the longest delay, and never not at all', () => {
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

  it('is itself again after one success, and remembers since when it was not', async () => {
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

  it('is not failing where one part of a request was taken', () => {
    const { health, pause } = createHealth();
    for (let time = 0; time < 5; time++) health.noteOutcomes([retryable(), delivered], 0);
    expect(pause()).toBeUndefined();
  });
});

describe('a lane that is blocked', () => {
  it('probes gently, from every few seconds to every few minutes, and says why', () => {
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

  it('dates a trouble of another kind anew', async () => {
    const { clock, note, pause } = createHealth();
    note(blocked);
    await clock.advance(1000);
    note(throttled());
    expect(pause()).toMatchObject({ kind: 'throttled', since: startMs + 1000 });
  });
});
