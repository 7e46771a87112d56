import { afterEach, describe, expect, it } from 'vitest';
import type { FaultRule } from '../../src/sandbox/faults.js';
import { isConserved, startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const postEvents = async (count: number, prefix = 'e'): Promise<void> => {
  const events = Array.from({ length: count }, (_, index) => ({
    event_name: 'Viewed Product',
    distinct_id: `${prefix}-${index}`,
    insert_id: `${prefix}-${index}`,
  }));
  const response = await relay.post('/v1/events/batch', { events });
  expect(response.status).toBe(202);
};

const recordedIds = (): string[] =>
  relay.sandbox
    .state()
    .events.map(({ uniqueId }) => uniqueId)
    .sort();
const postedIds = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `e-${index}`).sort();

describe('every event is recorded exactly once after', () => {
  const transient: [string, FaultRule][] = [
    ['429 with Retry-After', { endpoint: 'bulk-events', times: 2, status: 429, retryAfter: 2 }],
    [
      '429 without Retry-After',
      { endpoint: 'bulk-events', times: 1, status: 429, retryAfter: null },
    ],
    ['429 with Retry-After 0', { endpoint: 'bulk-events', times: 1, status: 429, retryAfter: 0 }],
    ['500', { endpoint: 'bulk-events', times: 2, status: 500 }],
    ['502', { endpoint: 'bulk-events', times: 1, status: 502 }],
    ['503 with Retry-After', { endpoint: 'bulk-events', times: 1, status: 503, retryAfter: 3 }],
    ['504', { endpoint: 'bulk-events', times: 1, status: 504 }],
    ['524', { endpoint: 'bulk-events', times: 1, status: 524 }],
    ['a reset before the body is read', { endpoint: 'bulk-events', times: 2, reset: 'before' }],
    [
      'a reset after Klaviyo recorded the body',
      { endpoint: 'bulk-events', times: 2, reset: 'after' },
    ],
    ['400 with an HTML page', { endpoint: 'bulk-events', times: 1, status: 400, html: true }],
    ['403 with an HTML page', { endpoint: 'bulk-events', times: 1, status: 403, html: true }],
    ['413', { endpoint: 'bulk-events', times: 1, status: 413 }],
    ['401', { endpoint: 'bulk-events', times: 3, status: 401 }],
    ['403', { endpoint: 'bulk-events', times: 3, status: 403 }],
    ['a long outage', { endpoint: 'bulk-events', times: 12, status: 503 }],
    ['a single 400 without a pointer', { endpoint: 'bulk-events', times: 1, status: 400 }],
    ['an empty 200', { endpoint: 'bulk-events', times: 2, status: 200 }],
    ['204', { endpoint: 'bulk-events', times: 2, status: 204 }],
    ['200 with an HTML page', { endpoint: 'bulk-events', times: 2, status: 200, html: true }],
    ['202 with an HTML page', { endpoint: 'bulk-events', times: 2, status: 202, html: true }],
    [
      '200 with errors',
      {
        endpoint: 'bulk-events',
        times: 2,
        body: { errors: [{ detail: 'temporarily unavailable' }] },
      },
    ],
    [
      '202 with a body that is not Klaviyo’s',
      { endpoint: 'bulk-events', times: 2, status: 202, body: { message: 'queued' } },
    ],
  ];

  it.each(transient)('%s', async (_name, fault) => {
    relay = await startRelay({ sandbox: { faults: [fault] } });
    await postEvents(20);
    await relay.untilSettled();
    expect(recordedIds()).toEqual(postedIds(20));
    const { events } = await relay.counts();
    expect(events).toEqual({
      accepted: 20,
      delivered: 20,
      merged: 0,
      deadLettered: 0,
      erased: 0,
      buffered: 0,
    });
    expect(relay.sandbox.state().violations).toEqual([]);
  });
});

describe('the lane pauses and keeps its envelopes after', () => {
  const blocking: [string, FaultRule, string][] = [
    ['401', { endpoint: 'bulk-events', status: 401 }, 'klaviyo_events'],
    ['403 for a scope', { endpoint: 'bulk-events', status: 403 }, 'klaviyo_events'],
    [
      'a revision from the future',
      {
        endpoint: 'bulk-events',
        status: 404,
        body: { errors: [{ detail: 'Unable to specify a future revision date' }] },
      },
      'klaviyo_events',
    ],
  ];

  it.each(blocking)('%s', async (_name, fault, check) => {
    relay = await startRelay({ sandbox: { faults: [fault] } });
    await postEvents(5);
    await relay.until('the lane is blocked', async () => {
      const { body } = await relay.get('/readyz');
      const checks = body.checks as Record<string, { ok: boolean; detail?: string }>;
      return checks[check]?.detail?.startsWith('blocked since') === true;
    });
    expect((await relay.get('/readyz')).status).toBe(200);
    expect((await relay.get('/metrics')).body.text).toMatch(
      /relay_klaviyo_paused\{lane="events",reason="\w+"\} 1/,
    );
    const before = relay.sandbox.state().requests.length;
    await relay.clock.advance(60_000);
    expect(relay.sandbox.state().requests.length - before).toBeLessThan(15);
    relay.sandbox.clearFaults();
    await relay.untilSettled();
    expect(recordedIds()).toEqual(postedIds(5));
    expect((await relay.get('/metrics')).body.text).not.toMatch(
      /relay_klaviyo_paused\{lane="events"/,
    );
  });

  it('401 for events, while profiles are still delivered', async () => {
    relay = await startRelay({ sandbox: { faults: [{ endpoint: 'bulk-events', status: 401 }] } });
    await postEvents(5);
    await relay.post('/v1/profiles', { email: 'ada@klaviyo-demo.com', first_name: 'Ada' });
    await relay.until(
      'the profile is delivered',
      async () => (await relay.counts()).profiles.delivered === 1,
    );
    expect((await relay.counts()).events.buffered).toBe(5);
    relay.sandbox.clearFaults();
    await relay.untilSettled();
  });
});

describe('a 400 for 3 bad of 1,000 events', () => {
  const mark = (pointer: 'exact' | 'prefix' | 'none'): FaultRule => ({
    endpoint: 'bulk-events',
    poison: {
      when: { path: '/properties/bad', equals: true },
      pointer,
      at: 'request',
      detail: 'Phone number is valid but is not in a supported region for this account.',
    },
  });
  const bad = new Set([0, 499, 998]);

  it.each(['exact', 'prefix', 'none'] as const)(
    'dead-letters only the bad ones with %s pointers',
    async (pointer) => {
      relay = await startRelay({ sandbox: { faults: [mark(pointer)] } });
      const events = Array.from({ length: 1000 }, (_, index) => ({
        event_name: 'Placed Order',
        distinct_id: `e-${index}`,
        insert_id: `e-${index}`,
        ...(bad.has(index) && { properties: { bad: true } }),
      }));
      expect((await relay.post('/v1/events/batch', events)).body).toMatchObject({ accepted: 1000 });
      await relay.untilSettled();
      const { events: counts } = await relay.counts();
      expect(counts).toEqual({
        accepted: 1000,
        delivered: 997,
        merged: 0,
        deadLettered: 3,
        erased: 0,
        buffered: 0,
      });
      expect(relay.sandbox.state().violations).toEqual([]);
      const deadLetters = (await relay.get('/v1/dead-letters')).body.data as DeadLetterView[];
      expect(deadLetters).toHaveLength(3);
      for (const { reason, payload } of deadLetters) {
        expect(reason.detail).toContain('not in a supported region');
        expect(JSON.stringify(payload)).toContain('"bad":true');
      }
    },
  );
});

type DeadLetterView = {
  readonly id: string;
  readonly reason: { readonly detail: string };
  readonly payload: unknown;
};

describe('profiles', () => {
  const postProfiles = (profiles: readonly object[]) =>
    relay.post('/v1/profiles/batch', { profiles });

  it('are delivered once their import job has ended', async () => {
    relay = await startRelay({ sandbox: { importDelayMs: 5000 } });
    await postProfiles([{ email: 'ada@klaviyo-demo.com' }, { email: 'bo@klaviyo-demo.com' }]);
    await relay.until('the job was begun', () => relay.sandbox.state().requests.length > 0);
    expect((await relay.counts()).profiles).toMatchObject({
      accepted: 2,
      delivered: 0,
      buffered: 2,
    });
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 2, buffered: 0 });
    const [delivery] = (await relay.get('/v1/deliveries?lane=profiles')).body.data as Record<
      string,
      unknown
    >[];
    expect(delivery).toMatchObject({
      result: 'delivered',
      import_job: { status: 'complete', failed: 0 },
    });
  });

  const jobless: [string, FaultRule][] = [
    ['nothing', { endpoint: 'bulk-profiles', times: 2, status: 202 }],
    [
      'an import job without an id',
      {
        endpoint: 'bulk-profiles',
        times: 2,
        status: 202,
        body: { data: { type: 'profile-bulk-import-job', id: '' } },
      },
    ],
    [
      'a body that is not Klaviyo’s',
      { endpoint: 'bulk-profiles', times: 2, status: 202, body: { message: 'queued' } },
    ],
  ];

  it.each(jobless)('are sent again after a 202 with %s', async (_name, fault) => {
    relay = await startRelay({ sandbox: { faults: [fault] } });
    await postProfiles([{ email: 'ada@klaviyo-demo.com' }]);
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 1, deadLettered: 0 });
    expect(relay.sandbox.state().profiles).toHaveLength(1);
  });

  it('wait for Klaviyo while a proxy answers for their import job', async () => {
    relay = await startRelay({
      sandbox: {
        faults: [
          { endpoint: 'jobs', times: 2, status: 200, body: { status: 'complete' } },
          { endpoint: 'jobs', times: 2, status: 404, body: { message: 'no route' } },
          { endpoint: 'jobs', times: 2, status: 403, html: true },
        ],
      },
    });
    await postProfiles([{ email: 'ada@klaviyo-demo.com' }]);
    await relay.untilSettled();
    const polls = relay.sandbox.state().requests.filter(({ method }) => method === 'GET');
    expect(polls).toHaveLength(7);
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 1 });
  });

  it('that fail in the job become dead letters with their reason, over several pages of errors', async () => {
    const detail = 'The profile is suppressed.';
    relay = await startRelay({
      sandbox: {
        faults: [
          {
            endpoint: 'bulk-profiles',
            poison: {
              when: { path: '/title', equals: 'bad' },
              pointer: 'exact',
              at: 'job',
              detail,
            },
          },
        ],
      },
    });
    await postProfiles(
      Array.from({ length: 500 }, (_, index) => ({
        distinct_id: `p-${index}`,
        ...(index % 2 === 0 && { title: 'bad' }),
      })),
    );
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toEqual({
      accepted: 500,
      delivered: 250,
      merged: 0,
      deadLettered: 250,
      erased: 0,
      buffered: 0,
    });
    const deadLetters = (await relay.get('/v1/dead-letters?lane=profiles&limit=1000')).body
      .data as DeadLetterView[];
    expect(deadLetters).toHaveLength(250);
    expect(deadLetters.every(({ reason }) => reason.detail.includes(detail))).toBe(true);
  });

  it('of one identity are merged into one with the newest value of each field', async () => {
    relay = await startRelay();
    await postProfiles([
      { email: 'ada@klaviyo-demo.com', first_name: 'Ada', plan: 'free' },
      { email: 'ada@klaviyo-demo.com', distinct_id: 'c1', plan: 'pro' },
      { email: 'bo@klaviyo-demo.com', first_name: 'Bo' },
    ]);
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({ accepted: 3, delivered: 2, merged: 1 });
    const { profiles, counters } = relay.sandbox.state();
    expect(profiles).toHaveLength(2);
    expect(
      profiles.find(({ attributes }) => attributes.external_id === 'c1')?.attributes,
    ).toMatchObject({
      first_name: 'Ada',
      properties: { plan: 'pro' },
    });
    expect(counters).toMatchObject({ importDuplicates: 0, importOverlaps: 0 });
  });

  it('are not sent while an import job with the same identity is unfinished', async () => {
    relay = await startRelay({
      sandbox: { importDelayMs: 3000 },
      env: { PROFILE_FLUSH_INTERVAL_MS: '0' },
    });
    for (let round = 0; round < 5; round++) {
      await relay.post('/v1/profiles', { email: 'ada@klaviyo-demo.com', visits: round });
      await relay.clock.advance(700);
    }
    await relay.untilSettled();
    const { profiles, counters } = relay.sandbox.state();
    expect(counters).toMatchObject({ importDuplicates: 0, importOverlaps: 0 });
    expect(profiles[0]?.attributes).toMatchObject({ properties: { visits: 4 } });
    expect(isConserved((await relay.counts()).profiles)).toBe(true);
  });

  it('with conflicting identifiers are sent one after the other, in order', async () => {
    relay = await startRelay();
    await postProfiles([
      { distinct_id: 'c1', email: 'old@klaviyo-demo.com' },
      { distinct_id: 'c1', email: 'new@klaviyo-demo.com' },
    ]);
    await relay.untilSettled();
    const { profiles, counters } = relay.sandbox.state();
    expect(counters).toMatchObject({ importDuplicates: 0, importOverlaps: 0 });
    expect(
      profiles.find(({ attributes }) => attributes.external_id === 'c1')?.attributes,
    ).toMatchObject({
      email: 'new@klaviyo-demo.com',
    });
  });

  it('merged with a bad one are delivered, and the bad one becomes a dead letter', async () => {
    relay = await startRelay({
      sandbox: {
        faults: [
          {
            endpoint: 'bulk-profiles',
            poison: {
              when: { path: '/title', equals: 'bad' },
              pointer: 'exact',
              at: 'request',
              detail: 'no',
            },
          },
        ],
      },
    });
    await postProfiles([
      { email: 'ada@klaviyo-demo.com', title: 'bad' },
      { email: 'ada@klaviyo-demo.com', first_name: 'Ada' },
    ]);
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({
      accepted: 2,
      delivered: 1,
      deadLettered: 1,
    });
  });
});

describe('ten of 1,000 records that make Klaviyo or a firewall respond with', () => {
  const effects: [string, Partial<FaultRule>][] = [
    ['a 500', { status: 500 }],
    ["a firewall's 403 page", { status: 403, html: true }],
    ["a firewall's 406 page", { status: 406, html: true }],
    ['a 504', { status: 504 }],
  ];

  it.each(effects)('%s do not delay the other records', async (_name, effect) => {
    const when = { path: '/properties/mark', equals: 'bad' };
    const poison = { when, pointer: 'none', at: 'request', detail: 'no' } as const;
    const fault: FaultRule = { endpoint: 'bulk-events', ...effect, poison };
    relay = await startRelay({ sandbox: { faults: [fault] } });
    const events = Array.from({ length: 1000 }, (_, index) => ({
      event_name: 'Viewed Product',
      distinct_id: `e-${index}`,
      insert_id: `e-${index}`,
      properties: { mark: index % 100 === 42 ? 'bad' : 'good' },
    }));
    const from = relay.clock.monotonic();
    expect((await relay.post('/v1/events/batch', { events })).status).toBe(202);
    await relay.until('the others are delivered', () => recordedIds().length === 990);
    // About 200 requests at Klaviyo's limit of 150 a minute.
    expect(relay.clock.monotonic() - from).toBeLessThan(90_000);
    expect((await relay.counts()).events).toMatchObject({ deadLettered: 0, buffered: 10 });
    expect(relay.sandbox.state().violations).toEqual([]);
    relay.sandbox.clearFaults();
    await relay.untilSettled();
    expect(recordedIds()).toHaveLength(1000);
  });
});
