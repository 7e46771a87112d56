import { afterEach, describe, expect, it } from 'vitest';
import { createSeededRandom, FaultScriptError, parseFaultRules } from '../../src/sandbox/faults.js';
import type { FaultRule } from '../../src/sandbox/faults.js';
import {
  startTestSandbox,
  subscribed,
  toBulkEvents,
  toBulkProfiles,
  toConsentJob,
  toDeletionJob,
  toEvent,
  toProfileImport,
  toSingleEvent,
  toSuppressionJob,
  toWrapper,
  turnsUntil,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
const start = async (...faults: FaultRule[]): Promise<void> => {
  at = await startTestSandbox({ faults, importDelayMs: 300 });
};
afterEach(() => at.sandbox.close());

let sent = 0;
const event = (): Promise<SandboxResponse> =>
  at.post('/api/events', toSingleEvent({ external_id: 'c' }, { unique_id: `u${++sent}` }));
const bulk = (wrappers: readonly unknown[]): Promise<SandboxResponse> =>
  at.post('/api/event-bulk-create-jobs', toBulkEvents(wrappers));
const statuses = async (count: number): Promise<number[]> => {
  const found: number[] = [];
  for (let one = 0; one < count; one++) found.push((await event()).status);
  return found;
};
const recorded = (): number => at.sandbox.state().counters.recorded;

describe('a fault rule', () => {
  it('applies after skip requests and at most times times', async () => {
    await start({ endpoint: 'events', skip: 1, times: 2, status: 503 });
    expect(await statuses(5)).toEqual([202, 503, 503, 202, 202]);
    expect(recorded()).toBe(3);
  });

  it('applies to its endpoint alone, where jobs means all reads of import jobs', async () => {
    await start({ endpoint: 'jobs', status: 500 });
    expect((await event()).status).toBe(202);
    expect((await at.get('/api/profile-bulk-import-jobs')).status).toBe(500);
    expect((await at.get('/api/profile-bulk-import-jobs/x/import-errors')).status).toBe(500);
  });

  it('applies with its probability, identically for the same seed', async () => {
    const script: FaultRule[] = [{ status: 500, probability: 0.5 }];
    const run = async (seed: number): Promise<number[]> => {
      at = await startTestSandbox({ faults: script, seed });
      const found = await statuses(30);
      await at.sandbox.close();
      return found;
    };
    const [first, again, other] = [await run(1), await run(1), await run(2)];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    expect(new Set(first)).toEqual(new Set([202, 500]));
  });

  it('applies only if no earlier rule applies', async () => {
    await start({ endpoint: 'events', times: 1, status: 500 }, { status: 502 });
    expect(await statuses(2)).toEqual([500, 502]);
  });
});

describe('the response of a fault rule', () => {
  it.each<[FaultRule, number, string | null]>([
    [{ status: 429 }, 429, '1'],
    [{ status: 429, retryAfter: 7 }, 429, '7'],
    [{ status: 429, retryAfter: 0 }, 429, '0'],
    [{ status: 429, retryAfter: null }, 429, null],
    [{ status: 503 }, 503, null],
    [{ status: 503, retryAfter: 3 }, 503, '3'],
    [{ status: 524 }, 524, null],
  ])('has the status, body and headers for %j', async (rule, status, retryAfter) => {
    await start(rule);
    const response = await event();
    expect(response.status).toBe(status);
    expect(response.headers.get('retry-after')).toBe(retryAfter);
    expect(response.errors[0]).toMatchObject({ status });
    expect(recorded()).toBe(0);
  });

  it('is the HTML page of Cloudflare with html', async () => {
    await start({ endpoint: 'events', times: 1, html: true }, { html: true, status: 400 });
    const challenge = await event();
    expect(challenge.status).toBe(403);
    expect(challenge.headers.get('content-type')).toBe('text/html; charset=UTF-8');
    expect(challenge.headers.get('cf-mitigated')).toBe('challenge');
    const bad = await event();
    expect(bad.status).toBe(400);
    expect(bad.text).toContain('<h1>400 Bad Request</h1>');
    expect(bad.text).toContain('cloudflare');
  });

  it('is any JSON body with body', async () => {
    await start({ status: 409, body: { errors: [{ detail: 'mine' }] } });
    const response = await event();
    expect([response.status, response.body]).toEqual([409, { errors: [{ detail: 'mine' }] }]);
  });

  it('points to the first record with withPointers, and to no record without it', async () => {
    await start(
      { endpoint: 'bulk-events', times: 1, status: 400, withPointers: true },
      { status: 400 },
    );
    const wrappers = [toWrapper({ external_id: 'c' })];
    expect((await bulk(wrappers)).errors[0]?.source.pointer).toBe(
      '/data/attributes/events-bulk-create/data/0/attributes',
    );
    expect((await bulk(wrappers)).errors[0]?.source.pointer).toBe('/data');
  });

  it('is delayed by delayMs on the clock, after the request was processed', async () => {
    await start({ delayMs: 5000 });
    let responses: SandboxResponse | undefined;
    const requested = event().then((response) => (responses = response));
    await turnsUntil(() => at.clock.pending() === 1);
    expect(recorded()).toBe(1);
    await at.clock.advance(4999);
    expect(responses).toBeUndefined();
    await at.clock.advance(1);
    expect((await requested).status).toBe(202);
  });
});

describe('a scripted connection reset', () => {
  it('before the body leaves the request unprocessed', async () => {
    await start({ times: 1, reset: 'before' });
    await expect(event()).rejects.toThrow('fetch failed');
    expect(recorded()).toBe(0);
    expect(at.sandbox.state().requests).toMatchObject([
      { endpoint: 'events', status: null, bytes: 0 },
    ]);
    expect((await event()).status).toBe(202);
  });

  it('after the body processes the request and sends no response', async () => {
    await start({ times: 1, reset: 'after' });
    await expect(event()).rejects.toThrow('fetch failed');
    expect(recorded()).toBe(1);
    expect(at.sandbox.state().requests).toMatchObject([{ status: null, count: 1 }]);
  });
});

describe('a poison rule', () => {
  const poison = (extra: JsonMap = {}): FaultRule => ({
    endpoint: 'bulk-events',
    poison: {
      when: { path: 'properties.bad', equals: true },
      detail: 'not in a supported region',
      ...extra,
    },
  });
  const wrappers = [
    toWrapper({ external_id: 'a' }),
    toWrapper({ external_id: 'b' }, [toEvent(), toEvent({ properties: { bad: true } }, 'Other')]),
    toWrapper({ external_id: 'c' }, [toEvent({ properties: { bad: 1 } })]),
  ];
  const base = '/data/attributes/events-bulk-create/data/1';

  it.each([
    ['exact', `${base}/attributes/events/data/1/attributes/properties/bad`],
    ['prefix', base],
    ['none', '/data'],
  ])('rejects the request with pointer %s', async (pointer, expected) => {
    await start(poison({ pointer }));
    const response = await bulk(wrappers);
    expect(response.status).toBe(400);
    expect(response.errors).toMatchObject([
      { detail: 'not in a supported region', source: { pointer: expected } },
    ]);
    expect(recorded()).toBe(0);
    expect((await bulk(wrappers.slice(0, 1))).status).toBe(202);
  });

  it('finds its record by the profile or by a JSON Pointer', async () => {
    await start(
      { poison: { when: { path: 'email', equals: 'bad@klaviyo-demo.com' } } },
      { poison: { when: { path: '/properties/a.b', equals: 'x' } } },
    );
    const byEmail = await bulk([toWrapper({ email: 'bad@klaviyo-demo.com' })]);
    expect(byEmail.errors[0]?.source.pointer).toBe(
      '/data/attributes/events-bulk-create/data/0/attributes/profile/data/attributes/email',
    );
    const single = await at.post(
      '/api/events',
      toSingleEvent({ external_id: 'c' }, { properties: { 'a.b': 'x' } }),
    );
    expect(single.errors[0]?.source.pointer).toBe('/data/attributes/properties/a.b');
    const profile = await at.post(
      '/api/profile-import',
      toProfileImport({ external_id: 'c', properties: { 'a.b': 'x' } }),
    );
    expect(profile.errors[0]?.source.pointer).toBe('/data/attributes/properties/a.b');
  });

  it('counts only requests that carry a matching record', async () => {
    await start({ ...poison(), times: 1 });
    expect((await bulk(wrappers.slice(0, 1))).status).toBe(202);
    expect((await bulk(wrappers)).status).toBe(400);
    expect((await bulk(wrappers)).status).toBe(202);
  });

  it('can have an effect of its own: a bare 500 or a connection reset', async () => {
    await start({ ...poison(), times: 1, status: 500 }, { ...poison(), reset: 'after' });
    expect((await bulk(wrappers)).status).toBe(500);
    expect(recorded()).toBe(0);
    await expect(bulk(wrappers)).rejects.toThrow('fetch failed');
    expect(recorded()).toBe(4);
  });

  it('at job fails its record in the import job and no other', async () => {
    await start({
      endpoint: 'bulk-profiles',
      poison: { when: { path: 'title', equals: 'bad' }, at: 'job', detail: 'suppressed' },
    });
    const response = await at.post(
      '/api/profile-bulk-import-jobs',
      toBulkProfiles([{ external_id: 'a' }, { external_id: 'b', title: 'bad' }]),
    );
    expect(response.status).toBe(202);
    await at.clock.advance(300);
    const { id } = response.body.data as { id: string };
    const job = await at.get(`/api/profile-bulk-import-jobs/${id}`);
    expect((job.body.data as JsonMap).attributes).toMatchObject({
      status: 'complete',
      completed_count: 1,
      failed_count: 1,
    });
    const errors = await at.get(`/api/profile-bulk-import-jobs/${id}/import-errors`);
    expect(errors.body.data).toMatchObject([
      {
        type: 'import-error',
        attributes: {
          code: 'invalid',
          title: 'Invalid input',
          detail: 'suppressed',
          source: { pointer: '/data/attributes/title' },
          original_payload: { external_id: 'b', title: 'bad' },
        },
      },
    ]);
    expect(at.sandbox.state().profiles).toHaveLength(1);
    expect(at.sandbox.state().counters).toMatchObject({ imported: 1, importFailed: 1 });
  });

  it('reports its record only once nothing else in the request is invalid', async () => {
    await start(poison());
    const response = await bulk([...wrappers, toWrapper({ email: 'x' })]);
    expect(response.errors.map(({ detail }) => detail)).toEqual(['Invalid email address']);
  });
});

describe('a fault rule at the endpoints of consent and privacy', () => {
  const email = 'ada@klaviyo-demo.com';
  const people = [
    { email, subscriptions: { email: subscribed } },
    { phone_number: '+15005550006', subscriptions: { sms: subscribed } },
  ];
  const subscribe = (): Promise<SandboxResponse> =>
    at.post('/api/profile-subscription-bulk-create-jobs', toConsentJob('create', people));

  it('refuses a subscription job for one number with the text of an unsupported region', async () => {
    const detail = 'Phone number is valid but is not in a supported region for this account.';
    const when = { path: 'phone_number', equals: '+15005550006' };
    await start({ endpoint: 'subscribe', poison: { when, detail } });
    const response = await subscribe();
    expect(response.status).toBe(400);
    expect(response.errors).toMatchObject([
      {
        detail,
        source: { pointer: '/data/attributes/profiles/data/1/attributes/phone_number' },
      },
    ]);
    await at.clock.advance(300);
    expect(at.sandbox.state().profiles).toEqual([]);
  });

  it('applies to its own endpoint, and a reset after the body keeps the effect', async () => {
    await start({ endpoint: 'suppress', reset: 'after' }, { endpoint: 'deletion', status: 503 });
    expect((await subscribe()).status).toBe(202);
    const suppression = toSuppressionJob('create', [email]);
    await expect(
      at.post('/api/profile-suppression-bulk-create-jobs', suppression),
    ).rejects.toThrow();
    await at.clock.advance(300);
    expect(at.sandbox.state().profiles[0]?.suppressions).toHaveLength(1);
    const deletion = await at.post('/api/data-privacy-deletion-jobs', toDeletionJob({ email }));
    expect(deletion.status).toBe(503);
  });

  it('finds the person of a deletion job', async () => {
    const poison = { when: { path: 'email', equals: email } };
    await start({ endpoint: 'deletion', poison });
    const response = await at.post('/api/data-privacy-deletion-jobs', toDeletionJob({ email }));
    expect(response.errors[0]?.source.pointer).toBe(
      '/data/attributes/profile/data/attributes/email',
    );
  });
});

describe('a fault script', () => {
  it.each<[unknown, string]>([
    [{}, 'must do something'],
    [{ status: 700 }, 'status'],
    [{ status: 500, endpoint: 'nowhere' }, 'endpoint'],
    [{ status: 500, oops: 1 }, 'oops'],
    [{ status: 500, reset: 'after' }, 'goes with no answer'],
    [{ reset: 'before', poison: { when: { path: 'a', equals: 1 } } }, 'must be after with poison'],
    [
      { endpoint: 'events', poison: { when: { path: 'a', equals: 1 }, at: 'job' } },
      'must be bulk-profiles',
    ],
    [{ status: 500, poison: { when: { path: 'a', equals: 1 }, at: 'job' } }, 'has no other effect'],
    ['nonsense', 'rule 0'],
  ])('with %j is invalid: %s', async (rule, problem) => {
    await start();
    expect(() => parseFaultRules([rule])).toThrow(FaultScriptError);
    expect(() => parseFaultRules([rule])).toThrow(problem);
    const response = await at.post('/sandbox/faults', JSON.stringify(rule));
    expect(response.status).toBe(400);
    expect(response.errors.map(({ detail }) => detail).join()).toContain(problem);
  });

  it('is listed, extended and cleared at run time', async () => {
    await start({ endpoint: 'events', times: 1, status: 500 });
    expect((await event()).status).toBe(500);
    const added = await at.post('/sandbox/faults', [
      { status: 502 },
      { delayMs: 0, endpoint: 'jobs' },
    ]);
    expect(added.body.data).toMatchObject([
      { endpoint: 'events', status: 500, hits: 1 },
      { endpoint: 'any', status: 502, hits: 0 },
      { endpoint: 'jobs', delayMs: 0 },
    ]);
    expect((await event()).status).toBe(502);
    const cleared = await at.send('/sandbox/faults', { method: 'DELETE' });
    expect(cleared.body).toEqual({ data: [] });
    expect((await event()).status).toBe(202);
    at.sandbox.addFault({ status: 504 });
    expect((await event()).status).toBe(504);
    at.sandbox.clearFaults();
    expect((await event()).status).toBe(202);
  });
});

it('createSeededRandom is uniform and repeatable', () => {
  const [one, two] = [createSeededRandom(7), createSeededRandom(7)];
  const drawn = Array.from({ length: 10_000 }, () => one());
  expect(drawn.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => two()));
  expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...drawn)).toBeLessThan(1);
  expect(drawn.reduce((sum, value) => sum + value) / drawn.length).toBeCloseTo(0.5, 1);
});
