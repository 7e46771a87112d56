import { describe, expect, it } from 'vitest';
import {
  countVerdicts,
  createRecorder,
  toDelivery,
  toEndedDelivery,
  type RequestFacts,
} from '../../src/delivery/delivery-record.js';
import { createMetrics } from '../../src/metrics.js';
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
import { createManualClock } from '../support/manual-clock.js';

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

describe('the delivery of a request', () => {
  it('has the number of the first attempt if no envelope was sent before', () => {
    expect(toDelivery(facts(), aSent([delivered]), []).attempt).toBe(1);
    expect(toDelivery(facts({ envelopes: [] }), aSent([]), []).attempt).toBe(1);
  });

  it('has its duration in tenths of a millisecond', () => {
    const sent = aSent([delivered], { durationMs: 12.3456 });
    expect(toDelivery(facts(), sent, []).durationMs).toBe(12.3);
  });

  it('has one backfilled event', () => {
    const sent = aSent([delivered], { backfilled: 1 });
    expect(toDelivery(facts(), sent, []).backfilled).toBe(1);
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

describe('the recorder', () => {
  function createUnderTest() {
    const metrics = createMetrics('test');
    const lines: { level: string; fields: object; text: string }[] = [];
    const write = (level: string) => (fields: object, text: string) =>
      void lines.push({ level, fields, text });
    const log = { info: write('info'), warn: write('warn') };
    const recorder = createRecorder({ clock: createManualClock(startMs), metrics, log });
    /** The samples of a metric that are not zero, without buckets. */
    const samples = async (name: string): Promise<readonly string[]> => {
      const text = await metrics.registry.getSingleMetricAsString(name);
      return text
        .split('\n')
        .filter((line) => !/^#|_bucket|^$| 0$/.test(line))
        .map((line) => line.replace(name, ''));
    };
    return { recorder, lines, samples };
  }

  it('counts a request and what it carried', async () => {
    const { recorder, samples } = createUnderTest();
    recorder.recordDelivery(aDelivery({ trigger: 'size', count: 7, bytes: 900, durationMs: 250 }));
    expect(await samples('relay_flushes_total')).toEqual(['{lane="events",trigger="size"} 1']);
    expect(await samples('relay_klaviyo_requests_total')).toEqual([
      '{lane="events",status="202"} 1',
    ]);
    const histograms = {
      relay_batch_envelopes: 7,
      relay_batch_bytes: 900,
      relay_klaviyo_request_duration_seconds: 0.25,
    };
    for (const [name, sum] of Object.entries(histograms)) {
      expect(await samples(name)).toEqual([
        `_sum{lane="events"} ${sum}`,
        '_count{lane="events"} 1',
      ]);
    }
  });

  it.each([
    ['the code of its reason', { code: 'timeout', detail: 'no response in time' }, 'timeout'],
    ['none if it has no reason either', null, 'none'],
  ])('counts a request without a response by %s', async (_name, reason, status) => {
    const { recorder, samples } = createUnderTest();
    recorder.recordDelivery(aDelivery({ status: null, reason }));
    expect(await samples('relay_klaviyo_requests_total')).toEqual([
      `{lane="events",status="${status}"} 1`,
    ]);
  });

  it('counts a split by its method', async () => {
    const { recorder, samples } = createUnderTest();
    recorder.recordSplit('profiles', 'size');
    expect(await samples('relay_batch_splits_total')).toEqual([
      '{lane="profiles",method="size"} 1',
    ]);
  });

  it.each([
    ['info', 'delivered'],
    ['info', 'pending'],
    ['warn', 'partial'],
    ['warn', 'retried'],
  ] as const)('logs with the level %s that the result of a request is %s', (level, result) => {
    const { recorder, lines } = createUnderTest();
    recorder.recordDelivery(aDelivery({ result }));
    expect(lines).toMatchObject([{ level, text: `delivery ${result}` }]);
  });

  it('logs numbers and codes, without members that are zero or absent', () => {
    const { recorder, lines } = createUnderTest();
    const delivery = aDelivery({ id: 'dl_9' });
    recorder.recordDelivery(delivery);
    const always = {
      delivery: 'dl_9',
      lane: 'events',
      trigger: 'time',
      count: 1,
      bytes: 100,
      status: 202,
      attempt: 1,
      durationMs: 20,
      delivered: 1,
    };
    expect(lines[0]?.fields).toStrictEqual(always);
    recorder.recordDelivery({
      ...delivery,
      merged: 1,
      retried: 1,
      deadLettered: 1,
      backfilled: 1,
      reason: { code: 'rejected', detail: 'ada@example.org is not valid' },
      importJob: { id: 'job-7', status: 'queued', completed: null, failed: null },
    });
    expect(lines[1]?.fields).toStrictEqual({
      ...always,
      merged: 1,
      retried: 1,
      deadLettered: 1,
      backfilled: 1,
      reason: 'rejected',
      importJob: 'job-7',
      importStatus: 'queued',
    });
  });

  it('counts what was settled, and the time since acceptance of what was delivered', async () => {
    const { recorder, samples } = createUnderTest();
    const aged = (ms: number): BatchItem => [anEnvelope({ acceptedAt: startMs - ms })];
    recorder.recordSettled('events', [
      ...settledAs([aged(2000)], ack),
      ...settledAs([aged(500)], merged),
      // A wall clock that was set back: no time is negative.
      ...settledAs([aged(-60_000)], ack),
      ...settledAs([aged(9000)], retry()),
      ...settledAs([aged(9000)], deadLetter()),
    ]);
    expect(await samples('relay_settled_total')).toEqual([
      '{lane="events",outcome="delivered"} 2',
      '{lane="events",outcome="merged"} 1',
      '{lane="events",outcome="dead_lettered"} 1',
    ]);
    expect(await samples('relay_retries_total')).toEqual([
      '{lane="events",reason="server_error"} 1',
    ]);
    expect(await samples('relay_delivery_latency_seconds')).toEqual([
      '_sum{lane="events"} 2.5',
      '_count{lane="events"} 3',
    ]);
  });

  it.each([
    [1, 'an envelope'],
    [2, '2 envelopes'],
  ])('logs one redacted line about %i dead letters', (count, words) => {
    const { recorder, lines } = createUnderTest();
    const verdict = {
      kind: 'dead-letter',
      reason: { code: 'rejected', detail: 'ada@example.org is not valid' },
    } as const;
    const items = Array.from({ length: count }, () => anItem('1'));
    recorder.recordSettled('events', [
      ...settledAs([anItem('2')], ack),
      ...settledAs(items, verdict),
    ]);
    expect(lines).toEqual([
      {
        level: 'warn',
        fields: { lane: 'events', count, reason: 'rejected' },
        text: `gave up on ${words}: [email] is not valid`,
      },
    ]);
  });

  it.each([
    ['info', 'complete', 0],
    ['info', 'cancelled', 0],
    ['warn', 'complete', 1],
    ['warn', 'unreadable', 0],
    ['warn', 'expired', 0],
  ] as const)(
    'logs with the level %s that an import job is %s with %i dead letters',
    (level, status, deadLettered) => {
      const { recorder, lines } = createUnderTest();
      const importJob = { id: 'job-7', status, completed: null, failed: null };
      recorder.recordImportEnd(aDelivery({ deadLettered, importJob }));
      expect(lines).toMatchObject([
        { level, text: 'import job ended', fields: { importStatus: status } },
      ]);
    },
  );
});
