import { afterEach, describe, expect, it } from 'vitest';
import { createSeededRandom, FaultScriptError, toFaultRules } from '../../src/sandbox/faults.js';
import type { FaultRule } from '../../src/sandbox/faults.js';
import {
  startTestSandbox,
  toBulkEvents,
  toBulkProfiles,
  toEvent,
  toProfileImport,
  toSingleEvent,
  toWrapper,
  turnsUntil,
} from '../support/sandbox.js';
import type { JsonMap, Reply, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
const start = async (...faults: FaultRule[]): Promise<void> => {
  at = await startTestSandbox({ faults, importDelayMs: 300 });
};
afterEach(() => at.sandbox.close());

let sent = 0;
const event = (): Promise<Reply> =>
  at.post('/api/events', toSingleEvent({ external_id: 'c' }, { unique_id: `u${++sent}` }));
const bulk = (wrappers: readonly unknown[]): Promise<Reply> =>
  at.post('/api/event-bulk-create-jobs', toBulkEvents(wrappers));
const statuses = async (count: number): Promise<number[]> => {
  const found: number[] = [];
  for (let one = 0; one < count; one++) found.push((await event()).status);
  return found;
};
const recorded = (): number => at.sandbox.state().counters.recorded;

describe('when a fault strikes', () => {
  it('is bounded by skip and times', async () => {
    await start({ endpoint: 'events', skip: 1, times: 2, status: 503 });
    expect(await statuses(5)).toEqual([202, 503, 503, 202, 202]);
    expect(recorded()).toBe(3);
  });

  it('is bounded by its endpoint, and jobs means all that looks at them', async () => {
    await start({ endpoint: 'jobs', status: 500 });
    expect((await event()).status).toBe(202);
    expect((await at.get('/api/profile-bulk-import-jobs')).status).toBe(500);
    expect((await at.get('/api/profile-bulk-import-jobs/x/import-errors')).status).toBe(500);
  });

  it('is left to chance, the same chance for the same seed', async () => {
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

  it('is the first rule that applies', async () => {
    await start({ endpoint: 'events', times: 1, status: 500 }, { status: 502 });
    expect(await statuses(2)).toEqual([500, 502]);
  });
});

describe('what a fault answers', () => {
  it.each<[FaultRule, number, string | null]>([
    [{ status: 429 }, 429, '1'],
    [{ status: 429, retryAfter: 7 }, 429, '7'],
    [{ status: 429, retryAfter: 0 }, 429, '0'],
    [{ status: 429, retryAfter: null }, 429, null],
    [{ status: 503 }, 503, null],
    [{ status: 503, retryAfter: 3 }, 503, '3'],
    [{ status: 524 }, 524, null],
  ])('%j', async (rule, status, retryAfter) => {
    await start(rule);
    const answer = await event();
    expect(answer.status).toBe(status);
    expect(answer.headers.get('retry-after')).toBe(retryAfter);
    expect(answer.errors[0]).toMatchObject({ status });
    expect(recorded()).toBe(0);
  });

  it('is Cloudflare’s HTML where it says so', async () => {
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

  it('is any body', async () => {
    await start({ status: 409, body: { errors: [{ detail: 'mine' }] } });
    const answer = await event();
    expect([answer.status, answer.body]).toEqual([409, { errors: [{ detail: 'mine' }] }]);
  });

  it('names the first record with withPointers, and nobody without', async () => {
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

  it('comes late by the clock, after the work is done', async () => {
    await start({ delayMs: 5000 });
    let answered: Reply | undefined;
    const asked = event().then((answer) => (answered = answer));
    await turnsUntil(() => at.clock.pending() === 1);
    expect(recorded()).toBe(1);
    await at.clock.advance(4999);
    expect(answered).toBeUndefined();
    await at.clock.advance(1);
    expect((await asked).status).toBe(202);
  });
});

describe('a reset', () => {
  it('before the body is read: nothing is done', async () => {
    await start({ times: 1, reset: 'before' });
    await expect(event()).rejects.toThrow('fetch failed');
    expect(recorded()).toBe(0);
    expect(at.sandbox.state().requests).toMatchObject([
      { endpoint: 'events', status: null, bytes: 0 },
    ]);
    expect((await event()).status).toBe(202);
  });

  it('after the body was taken: all is done, and nobody is told', async () => {
    await start({ times: 1, reset: 'after' });
    await expect(event()).rejects.toThrow('fetch failed');
    expect(recorded()).toBe(1);
    expect(at.sandbox.state().requests).toMatchObject([{ status: null, count: 1 }]);
  });
});

describe('a poison record', () => {
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
  ])('refuses the request; pointer: %s', async (pointer, expected) => {
    await start(poison({ pointer }));
    const answer = await bulk(wrappers);
    expect(answer.status).toBe(400);
    expect(answer.errors).toMatchObject([
      { detail: 'not in a supported region', source: { pointer: expected } },
    ]);
    expect(recorded()).toBe(0);
    expect((await bulk(wrappers.slice(0, 1))).status).toBe(202);
  });

  it('is found by its profile and by a JSON Pointer', async () => {
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

  it('counts only requests that carry it', async () => {
    await start({ ...poison(), times: 1 });
    expect((await bulk(wrappers.slice(0, 1))).status).toBe(202);
    expect((await bulk(wrappers)).status).toBe(400);
    expect((await bulk(wrappers)).status).toBe(202);
  });

  it('may have an effect of its own: a 500 without a word, a reset', async () => {
    await start({ ...poison(), times: 1, status: 500 }, { ...poison(), reset: 'after' });
    expect((await bulk(wrappers)).status).toBe(500);
    expect(recorded()).toBe(0);
    await expect(bulk(wrappers)).rejects.toThrow('fetch failed');
    expect(recorded()).toBe(4);
  });

  it('fails within its import job, and the others do not', async () => {
    await start({
      endpoint: 'bulk-profiles',
      poison: { when: { path: 'title', equals: 'bad' }, at: 'job', detail: 'suppressed' },
    });
    const answer = await at.post(
      '/api/profile-bulk-import-jobs',
      toBulkProfiles([{ external_id: 'a' }, { external_id: 'b', title: 'bad' }]),
    );
    expect(answer.status).toBe(202);
    await at.clock.advance(300);
    const { id } = answer.body.data as { id: string };
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

  it('is named together with what is invalid anyway only once that is mended', async () => {
    await start(poison());
    const answer = await bulk([...wrappers, toWrapper({ email: 'x' })]);
    expect(answer.errors.map(({ detail }) => detail)).toEqual(['Invalid email address']);
  });
});

describe('fault scripts', () => {
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
  ])('%j is refused: %s', async (rule, problem) => {
    await start();
    expect(() => toFaultRules([rule])).toThrow(FaultScriptError);
    expect(() => toFaultRules([rule])).toThrow(problem);
    const answer = await at.post('/sandbox/faults', JSON.stringify(rule));
    expect(answer.status).toBe(400);
    expect(answer.errors.map(({ detail }) => detail).join()).toContain(problem);
  });

  it('are read, added and cleared at run time', async () => {
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

it('the seeded random is even and repeats itself', () => {
  const [one, two] = [createSeededRandom(7), createSeededRandom(7)];
  const drawn = Array.from({ length: 10_000 }, () => one());
  expect(drawn.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => two()));
  expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...drawn)).toBeLessThan(1);
  expect(drawn.reduce((sum, value) => sum + value) / drawn.length).toBeCloseTo(0.5, 1);
});
