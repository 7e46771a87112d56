import { describe, expect, it } from 'vitest';
import {
  countVerdicts,
  toDelivery,
  toEndedDelivery,
  type RequestFacts,
} from '../../src/delivery/delivery-record.js';
import { judgeItems, type JudgedItem } from '../../src/delivery/judge.js';
import type { Outcome } from '../../src/model/outcome.js';
import type { BatchItem } from '../../src/model/envelope.js';
import type { SendResult } from '../../src/model/destination.js';
import {
  ack,
  aDelivery,
  anEnvelope,
  anItem,
  blocked,
  deadLetter,
  delivered,
  merged,
  pending,
  rejected,
  retry,
  retryable,
  settledAs,
  startMs,
  throttled,
  unattributed,
} from '../support/builders.js';

const circumstances = {
  policy: { baseMs: 500, maxDelayMs: 60_000, maxAttempts: 0, maxAgeMs: 0 },
  now: startMs,
  random: 0.5,
  failureHistory: { noteFailure: () => true },
};

const verdictsOf = (item: BatchItem, outcome: JudgedItem['outcome']) =>
  judgeItems([{ item, outcome }], circumstances).map(({ verdict }) => verdict);

const judgeable = (outcome: Outcome): JudgedItem['outcome'] => {
  if (outcome.kind === 'unattributed') throw new Error('it is not judged');
  return outcome;
};

describe('judgeItems', () => {
  it('gives a verdict for every envelope, in order', () => {
    const [one, two] = [anItem('1'), anItem('2', '3')];
    const settled = judgeItems(
      [
        { item: one, outcome: judgeable(delivered) },
        { item: two, outcome: judgeable(retryable()) },
      ],
      circumstances,
    );
    expect(settled.map(({ envelope }) => envelope)).toEqual([...one, ...two]);
  });

  it('counts the newest envelope of a merged profile as delivered and the older ones as merged', () => {
    expect(verdictsOf(anItem('1', '2', '3'), judgeable(delivered))).toEqual([merged, merged, ack]);
  });

  it('sends each envelope of a rejected merged profile again alone, without a counted attempt', () => {
    const verdicts = verdictsOf(anItem('1', '2'), judgeable(rejected));
    expect(verdicts).toEqual([
      expect.objectContaining({ kind: 'retry', alone: true, countAttempt: false, afterMs: 0 }),
      expect.objectContaining({ kind: 'retry', alone: true, countAttempt: false, afterMs: 0 }),
    ]);
    expect(verdictsOf(anItem('1'), judgeable(rejected))).toMatchObject([{ kind: 'dead-letter' }]);
  });

  it('keeps the envelopes of a merged profile together through a retry and an import job', () => {
    expect(verdictsOf(anItem('1', '2'), judgeable(retryable()))).toMatchObject([
      { kind: 'retry', afterMs: 250 },
      { kind: 'retry', afterMs: 250 },
    ]);
    expect(verdictsOf(anItem('1', '2'), judgeable(pending('job')))).toEqual([
      { kind: 'poll', ref: 'job' },
      { kind: 'poll', ref: 'job' },
    ]);
  });
});

const facts = (overrides: Partial<RequestFacts> = {}): RequestFacts => ({
  id: 'dl_1',
  lane: 'events',
  trigger: 'size',
  at: startMs,
  envelopes: [anEnvelope()],
  pause: { at: startMs, forMs: 0 },
  ...overrides,
});

const aSent = (outcomes: readonly Outcome[], overrides: Partial<SendResult> = {}): SendResult => ({
  outcomes,
  status: 202,
  bytes: 321,
  backfilled: 0,
  durationMs: 12,
  feedback: null,
  ...overrides,
});

describe('toDelivery', () => {
  it('counts the backfilled events, and leaves the member out if there are none', () => {
    const { backfilled } = toDelivery(facts(), aSent([delivered], { backfilled: 3 }), []);
    expect(backfilled).toBe(3);
    expect(toDelivery(facts(), aSent([delivered]), [])).not.toHaveProperty('backfilled');
  });

  it('keeps a pause that Klaviyo requested, and none that the relay chose itself', () => {
    const pause = { at: startMs + 12, forMs: 30_400 };
    const pauseOf = (outcome: Outcome) => toDelivery(facts({ pause }), aSent([outcome]), []).pause;
    expect(pauseOf(throttled(30_000))).toEqual(pause);
    expect(pauseOf(retryable(30_000))).toBeUndefined();
    expect(pauseOf(blocked)).toBeUndefined();
  });

  it('records the request and the verdicts of its envelopes', () => {
    const envelopes = [anEnvelope({ attempts: 2 }), anEnvelope(), anEnvelope(), anEnvelope()];
    const [first, second, third] = envelopes.map((envelope): BatchItem => [envelope]);
    const settled = [
      ...settledAs([first!], ack),
      ...settledAs([second!], merged),
      ...settledAs([third!], retry()),
      ...settledAs([[envelopes[3]!]], deadLetter()),
    ];
    const sent = aSent([delivered, rejected], { status: 400 });
    expect(toDelivery(facts({ envelopes }), sent, settled)).toEqual({
      id: 'dl_1',
      lane: 'events',
      trigger: 'size',
      at: startMs,
      durationMs: 12,
      count: 4,
      bytes: 321,
      status: 400,
      attempt: 3,
      result: 'partial',
      delivered: 1,
      merged: 1,
      retried: 1,
      deadLettered: 1,
      reason: rejected.kind === 'rejected' ? rejected.reason : null,
      importJob: null,
    });
  });

  it.each<[string, Outcome]>([
    ['delivered', delivered],
    ['pending', pending('job')],
    ['rejected', rejected],
    ['rejected', unattributed('bisect')],
    ['retried', retryable()],
    ['retried', throttled()],
    ['blocked', blocked],
  ])('has the result %s if every outcome was %o', (result, outcome) => {
    expect(toDelivery(facts(), aSent([outcome, outcome]), []).result).toBe(result);
  });

  it('has the import job of a pending request', () => {
    const { importJob } = toDelivery(facts(), aSent([pending('job-7')]), []);
    expect(importJob).toEqual({ id: 'job-7', status: 'queued', completed: null, failed: null });
  });

  it('has no status if no response arrived', () => {
    expect(toDelivery(facts(), aSent([retryable()], { status: null }), []).status).toBeNull();
  });
});

describe('toEndedDelivery', () => {
  const job = { id: 'job-7', status: 'complete', completed: 2, failed: 0 } as const;
  const begun = aDelivery({
    result: 'pending',
    delivered: 0,
    importJob: { ...job, status: 'queued' },
  });

  it('is delivered if the job recorded everything, merged profiles included', () => {
    const settled = [...settledAs([anItem('1')], merged), ...settledAs([anItem('2')], ack)];
    expect(toEndedDelivery(begun, job, settled)).toEqual({
      ...begun,
      result: 'delivered',
      delivered: 1,
      merged: 1,
      importJob: job,
    });
  });

  it('is partial if a profile failed, with the reason of the failure', () => {
    const settled = [
      ...settledAs([anItem('1')], ack),
      ...settledAs([anItem('2')], deadLetter('bad_phone')),
      ...settledAs([anItem('3')], retry()),
    ];
    const ended = toEndedDelivery(begun, { ...job, failed: 1 }, settled);
    expect(ended).toMatchObject({ result: 'partial', delivered: 1, deadLettered: 1, retried: 1 });
    expect(ended.reason?.code).toBe('bad_phone');
  });
});

describe('countVerdicts', () => {
  it('counts each kind of verdict, starting at zero', () => {
    expect(countVerdicts([])).toEqual({
      delivered: 0,
      merged: 0,
      retry: 0,
      'dead-letter': 0,
      poll: 0,
    });
    const verdicts = [
      ack,
      ack,
      merged,
      retry(),
      deadLetter(),
      { kind: 'poll' as const, ref: 'job' },
    ];
    expect(countVerdicts(verdicts.map((verdict) => ({ verdict })))).toEqual({
      delivered: 2,
      merged: 1,
      retry: 1,
      'dead-letter': 1,
      poll: 1,
    });
  });
});
