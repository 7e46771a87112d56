import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs, judge, type RetryPolicy } from '../../src/delivery/retry.js';
import type { Reason } from '../../src/envelope.js';
import { anEnvelope, startMs } from '../support/builders.js';

const policy: RetryPolicy = { baseMs: 500, maxDelayMs: 60_000, maxAttempts: 0, maxAgeMs: 0 };
const reason: Reason = { code: 'server', detail: 'down', status: 503 };
const at = { now: startMs, random: 0.5, policy };

describe('judging an envelope', () => {
  it('acknowledges what was delivered', () => {
    expect(judge(anEnvelope(), { kind: 'delivered' }, at)).toEqual({
      kind: 'ack',
      as: 'delivered',
    });
  });

  it('follows what an import job has', () => {
    expect(judge(anEnvelope(), { kind: 'pending', ref: 'j1' }, at)).toEqual({
      kind: 'follow',
      ref: 'j1',
    });
  });

  it('buries what Klaviyo will never take, with its reason', () => {
    expect(judge(anEnvelope(), { kind: 'rejected', reason }, at)).toEqual({ kind: 'bury', reason });
  });

  it.each(['throttled', 'blocked'] as const)(
    'sends again what was %s, as if it had not been tried',
    (kind) => {
      const verdict = judge(
        anEnvelope({ attempts: 99 }),
        { kind, reason, afterMs: 9 },
        { ...at, policy: { ...policy, maxAttempts: 3 } },
      );
      expect(verdict).toEqual({ kind: 'retry', afterMs: 0, reason, countAttempt: false });
    },
  );

  it('waits longer with each attempt, and never less than Klaviyo asked for', () => {
    const verdict = (attempts: number, afterMs?: number) =>
      judge(
        anEnvelope({ attempts }),
        { kind: 'retryable', reason, ...(afterMs !== undefined && { afterMs }) },
        at,
      );
    expect(verdict(0)).toMatchObject({ kind: 'retry', afterMs: 250, countAttempt: true });
    expect(verdict(3)).toMatchObject({ afterMs: 2000 });
    expect(verdict(0, 7000)).toMatchObject({ afterMs: 7000 });
  });

  it.each([
    ['attempts', { maxAttempts: 3 }, 'attempts_exhausted'],
    ['age', { maxAgeMs: 1000 }, 'too_old'],
  ])('gives up at the bound of %s, and says what the last reason was', (_name, bound, code) => {
    const circumstances = { ...at, now: startMs + 1000, policy: { ...policy, ...bound } };
    const verdict = judge(
      anEnvelope({ attempts: 2 }),
      { kind: 'retryable', reason },
      circumstances,
    );
    expect(verdict).toMatchObject({ kind: 'bury', reason: { code, status: 503 } });
    expect(verdict.kind === 'bury' && verdict.reason.detail).toContain('server: down');
  });
});

describe('backoff', () => {
  it('stays within zero and its cap, however many attempts there were', () => {
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
