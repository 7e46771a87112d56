import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FailureHistory,
  backoffMs,
  judgeEnvelope,
  toReturned,
  toUnmerged,
  withMinDelay,
  type RetryPolicy,
} from '../../src/delivery/judge.js';
import type { Reason } from '../../src/model/outcome.js';
import { ack, anEnvelope, anItem, retry, settledAs, startMs } from '../support/builders.js';

const policy: RetryPolicy = { baseMs: 500, maxDelayMs: 60_000, maxAttempts: 0, maxAgeMs: 0 };
const reason: Reason = { code: 'server', detail: 'down', status: 503 };
const at = { now: startMs, random: 0.5, policy, failureHistory: { noteFailure: () => true } };

describe('judge', () => {
  it('acknowledges a delivered envelope', () => {
    expect(judgeEnvelope(anEnvelope(), { kind: 'delivered' }, at)).toEqual({
      kind: 'ack',
      as: 'delivered',
    });
  });

  it('polls the import job of a pending envelope', () => {
    expect(judgeEnvelope(anEnvelope(), { kind: 'pending', ref: 'j1' }, at)).toEqual({
      kind: 'poll',
      ref: 'j1',
    });
  });

  it('dead-letters a rejected envelope with its reason', () => {
    expect(judgeEnvelope(anEnvelope(), { kind: 'rejected', reason }, at)).toEqual({
      kind: 'dead-letter',
      reason,
    });
  });

  it.each(['throttled', 'blocked'] as const)(
    'sends an envelope again that was %s, without a counted attempt',
    (kind) => {
      const verdict = judgeEnvelope(
        anEnvelope({ attempts: 99 }),
        { kind, reason, afterMs: 9 },
        { ...at, policy: { ...policy, maxAttempts: 3 } },
      );
      expect(verdict).toEqual({ kind: 'retry', afterMs: 0, reason, countAttempt: false });
    },
  );

  it('delays a retry longer with each attempt, and never less than Klaviyo requested', () => {
    const verdict = (attempts: number, afterMs?: number) =>
      judgeEnvelope(
        anEnvelope({ attempts }),
        { kind: 'retryable', reason, ...(afterMs !== undefined && { afterMs }) },
        at,
      );
    expect(verdict(0)).toMatchObject({ kind: 'retry', afterMs: 250, countAttempt: true });
    expect(verdict(3)).toMatchObject({ afterMs: 2000 });
    expect(verdict(0, 7000)).toMatchObject({ afterMs: 7000 });
  });

  it('waits a minute if the content of the envelope may be why the lane is blocked, so that others are the next probe', () => {
    const verdict = judgeEnvelope(
      anEnvelope(),
      { kind: 'blocked', reason, mayBeContent: true },
      at,
    );
    expect(verdict).toEqual({ kind: 'retry', afterMs: 60_000, reason, countAttempt: false });
  });

  it('spreads retries from zero to the whole backoff', () => {
    const afterMs = (random: number) =>
      judgeEnvelope(anEnvelope(), { kind: 'retryable', reason }, { ...at, random });
    expect(afterMs(0)).toMatchObject({ afterMs: 0 });
    expect(afterMs(0.998)).toMatchObject({ afterMs: 499 });
  });

  it.each([
    ['one attempt', { maxAttempts: 1 }, 'attempts_exhausted'],
    ['one millisecond', { maxAgeMs: 1 }, 'too_old'],
  ])('dead-letters a failed envelope at once if the bound is %s', (_name, bound, code) => {
    const verdict = judgeEnvelope(
      anEnvelope({ acceptedAt: startMs - 1 }),
      { kind: 'retryable', reason },
      { ...at, policy: { ...policy, ...bound } },
    );
    expect(verdict).toMatchObject({ kind: 'dead-letter', reason: { code } });
  });

  it('sends an envelope again that is younger than the bound of age', () => {
    const verdict = judgeEnvelope(
      anEnvelope({ acceptedAt: startMs - 999 }),
      { kind: 'retryable', reason },
      { ...at, policy: { ...policy, maxAgeMs: 1000 } },
    );
    expect(verdict).toMatchObject({ kind: 'retry' });
  });

  it.each([
    ['attempts', { maxAttempts: 3 }, 'attempts_exhausted'],
    ['age', { maxAgeMs: 1000 }, 'too_old'],
  ])('dead-letters at the bound of %s, with the last reason', (_name, bound, code) => {
    const circumstances = { ...at, now: startMs + 1000, policy: { ...policy, ...bound } };
    const verdict = judgeEnvelope(
      anEnvelope({ attempts: 2 }),
      { kind: 'retryable', reason },
      circumstances,
    );
    expect(verdict).toMatchObject({ kind: 'dead-letter', reason: { code, status: 503 } });
    expect(verdict.kind === 'dead-letter' && verdict.reason.detail).toContain('server: down');
  });
});

describe('an envelope that is too old by the wall clock', () => {
  const days = 86_400_000;
  const bound = { ...policy, maxAgeMs: 7 * days };
  const old = anEnvelope({ acceptedAt: startMs - 8 * days });

  it('is sent again until this process has seen it fail for long enough', () => {
    const judged = judgeEnvelope(
      old,
      { kind: 'retryable', reason },
      { ...at, policy: bound, failureHistory: { noteFailure: () => false } },
    );
    expect(judged).toMatchObject({ kind: 'retry', countAttempt: true });
  });

  it('is given up after five failures over ten minutes of the monotonic clock', () => {
    let now = 0;
    const history = new FailureHistory({
      clock: { monotonic: () => now },
      maxAgeMs: bound.maxAgeMs,
    });
    const failAt = (minutes: number): boolean => {
      now = minutes * 60_000;
      return history.noteFailure(old);
    };
    expect([0, 1, 2, 3, 4, 9.9].map(failAt)).toEqual(Array(6).fill(false));
    expect(failAt(10)).toBe(true);
    // Failures are counted separately for each envelope.
    expect(history.noteFailure(anEnvelope())).toBe(false);
  });

  it('is not given up after few failures in a long span or many failures in a short one', () => {
    let now = 0;
    const clock = { monotonic: () => now };
    const few = new FailureHistory({ clock, maxAgeMs: bound.maxAgeMs });
    const answers = [0, 1, 2, 3].map((day) => {
      now = day * days;
      return few.noteFailure(old);
    });
    const many = new FailureHistory({ clock, maxAgeMs: bound.maxAgeMs });
    answers.push(...Array.from({ length: 1000 }, () => many.noteFailure(old)));
    expect(new Set(answers)).toEqual(new Set([false]));
  });

  it('is given up sooner if RETRY_MAX_AGE_MS is below ten minutes', () => {
    let now = 0;
    const history = new FailureHistory({ clock: { monotonic: () => now }, maxAgeMs: 1000 });
    const answers = [0, 250, 500, 750, 1000].map((at) => {
      now = at;
      return history.noteFailure(old);
    });
    expect(answers).toEqual([false, false, false, false, true]);
  });
});

describe('the failure history of 50,000 envelopes', () => {
  /** A history that gives an envelope up at its fifth failure, however soon that is. */
  const createHistory = () => {
    const history = new FailureHistory({ clock: { monotonic: () => 0 }, maxAgeMs: 0 });
    const failOthers = (count: number): void => {
      for (let each = 0; each < count; each++) history.noteFailure(anEnvelope());
    };
    const failTimes = (count: number): boolean[] =>
      Array.from({ length: count }, () => history.noteFailure(old));
    return { failOthers, failTimes };
  };
  const old = anEnvelope();

  it('still has the failures of the oldest one', () => {
    const { failOthers, failTimes } = createHistory();
    failTimes(4);
    failOthers(49_999);
    expect(failTimes(1)).toEqual([true]);
  });

  it('forgets the oldest one when another envelope fails', () => {
    const { failOthers, failTimes } = createHistory();
    failTimes(4);
    failOthers(50_000);
    expect(failTimes(5)).toEqual([false, false, false, false, true]);
  });

  it('orders them by their last failure, and not by their first', () => {
    const { failOthers, failTimes } = createHistory();
    failTimes(3);
    failOthers(49_999);
    failTimes(1);
    failOthers(1);
    expect(failTimes(1)).toEqual([true]);
  });
});

describe('the envelopes of a batch', () => {
  it('can be claimed again at once without a counted attempt if nothing was decided about them', () => {
    const items = [anItem('1'), anItem('2', '3')];
    expect(toReturned(items)).toEqual(
      settledAs(items, {
        kind: 'retry',
        afterMs: 0,
        countAttempt: false,
        reason: { code: 'stopped', detail: 'the lane stopped before this was sent' },
      }),
    );
  });

  it('are each sent again alone, at once and without a counted attempt, if they are unmerged', () => {
    const items = [anItem('1', '2')];
    const verdict = {
      kind: 'retry',
      afterMs: 0,
      reason,
      countAttempt: false,
      alone: true,
    } as const;
    expect(toUnmerged(items, reason)).toEqual(settledAs(items, verdict));
  });

  it('wait at least the minimum delay if they are sent again, and are sent alone only on request', () => {
    const sent = settledAs([anItem('1')], retry(100));
    expect(withMinDelay(sent, (_envelope, afterMs) => 5 * afterMs)).toEqual([
      { envelope: sent[0]?.envelope, verdict: retry(500) },
    ]);
    expect(withMinDelay(sent, () => 50, true)).toEqual([
      { envelope: sent[0]?.envelope, verdict: retry(100, { alone: true }) },
    ]);
    const acknowledged = settledAs([anItem('2')], ack);
    expect(withMinDelay(acknowledged, () => 50, true)).toEqual(acknowledged);
  });
});

describe('backoffMs', () => {
  it('stays between zero and its cap, however many attempts there were', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        (attempt, random) => {
          const delayMs = backoffMs(attempt, policy, random);
          expect(delayMs).toBeGreaterThanOrEqual(0);
          expect(delayMs).toBeLessThanOrEqual(policy.maxDelayMs);
        },
      ),
    );
  });
});
