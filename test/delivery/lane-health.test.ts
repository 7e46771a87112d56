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

describe('every lane', () => {
  it('claims an envelope alone after its third failed attempt', () => {
    expect(createHealth().health.bounds()).toMatchObject({ isolateAfterAttempts: 3 });
  });

  it('counts the requests that Klaviyo accepted or rejected', () => {
    const { health, note } = createHealth();
    const before = health.passes;
    for (const outcome of [delivered, retryable(), rejected, throttled(), blocked]) note(outcome);
    expect(health.passes - before).toBe(2);
  });
});

describe('a throttled lane', () => {
  it('pauses as long as Klaviyo requests, plus a random time', () => {
    const { note, pause } = createHealth();
    expect(note(throttled(7000), 0)).toBe(7000);
    const jittered = note(throttled(7000), 0.999);
    expect(jittered).toBeGreaterThan(7400);
    expect(jittered).toBeLessThan(7500);
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

  it.each([
    ['the shortest', 0, [500, 1000, 2000]],
    ['the longest', 1, [1000, 2000, 4000]],
  ])('doubles %s wait between its probes', (_name, random, expected) => {
    const { note } = createHealth();
    const waits = Array.from({ length: 5 }, () => note(retryable(), random));
    expect(waits).toEqual([0, 0, ...expected]);
  });

  it('is in doubt while one more failure makes an outage', () => {
    const { health, note } = createHealth();
    const doubts = [health.isInDoubt];
    for (let time = 0; time < 2; time++) {
      note(retryable());
      doubts.push(health.isInDoubt);
    }
    note(delivered);
    doubts.push(health.isInDoubt);
    expect(doubts).toEqual([false, false, true, false]);
  });

  it('is in an outage only after six failures if other parts of the batch succeeded meanwhile', () => {
    const { health, pause } = createHealth();
    const fail = () => health.noteOutcomes([retryable()], 0, { haveOthersPassed: true });
    for (let time = 0; time < 5; time++) expect(fail()).toBe(0);
    expect(pause()).toBeUndefined();
    expect(fail()).toBeGreaterThan(0);
    expect(pause()?.kind).toBe('outage');
  });

  it('stays healthy if the only failure is an envelope that failed alone before', () => {
    const { health, pause } = createHealth();
    for (let time = 0; time < 5; time++) {
      expect(health.noteOutcomes([retryable()], 0, { hasFailedAlone: true })).toBe(0);
    }
    expect(health.isInDoubt).toBe(false);
    expect(pause()).toBeUndefined();
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

  it('waits between half and the whole of its backoff before it probes', () => {
    expect(createHealth().note(blocked, 0)).toBe(2500);
    expect(createHealth().note(blocked, 1)).toBe(5000);
  });

  it('is not paused while the parts of a batch may show that a record is the cause', () => {
    const { health, pause } = createHealth();
    expect(health.noteOutcomes([blocked], 0, { isUndecided: true })).toBe(0);
    expect(pause()).toBeUndefined();
    expect(health.noteOutcomes([blocked], 0)).toBeGreaterThan(0);
    expect(pause()?.kind).toBe('blocked');
  });

  it('starts the time of a pause of another kind at its own start', async () => {
    const { clock, note, pause } = createHealth();
    note(blocked);
    await clock.advance(1000);
    note(throttled());
    expect(pause()).toMatchObject({ kind: 'throttled', since: startMs + 1000 });
  });
});
