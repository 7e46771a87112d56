import { createHash } from 'node:crypto';
import { Script } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  goodHeaders,
  startTestSandbox,
  subscribed,
  toBulkProfiles,
  toConsentJob,
  toSingleEvent,
  toSuppressionJob,
} from '../support/sandbox.js';
import type { SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({
    importDelayMs: 300,
    windows: { events: [{ limit: 1, windowMs: 1000 }] },
  });
});
afterEach(() => at.sandbox.close());

const record = (name: string, uniqueId: string): Promise<unknown> =>
  at.post('/api/events', toSingleEvent({ external_id: name }, { unique_id: uniqueId, value: 5 }));

describe('the JSON view of the sandbox', () => {
  it('lists the newest events first, up to the limit', async () => {
    for (const id of ['u1', 'u2', 'u3']) {
      await record('ada', id);
      await at.clock.advance(1000);
    }
    const response = await at.get('/sandbox/feed?limit=2');
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.body.data).toMatchObject([
      { metric: 'Placed Order', who: 'ada', uniqueId: 'u3', value: 5 },
      { uniqueId: 'u2' },
    ]);
  });

  it('lists the most recently updated profiles first', async () => {
    for (const name of ['ada', 'bo', 'ada']) {
      await record(name, `${name}${at.clock.now()}`);
      await at.clock.advance(1000);
    }
    expect((await at.get('/sandbox/profiles')).body.data).toMatchObject([
      { who: 'ada' },
      { who: 'bo' },
    ]);
  });

  it('shows consent, suppressions and lists of each profile', async () => {
    const profile = { email: 'ada@klaviyo-demo.com', subscriptions: { email: subscribed } };
    await at.post(
      '/api/profile-subscription-bulk-create-jobs',
      toConsentJob('create', [profile], { listId: 'L1' }),
    );
    await at.post(
      '/api/profile-suppression-bulk-create-jobs',
      toSuppressionJob('create', [profile.email]),
    );
    await at.clock.advance(300);
    expect((await at.get('/sandbox/profiles')).body.data).toMatchObject([
      {
        who: 'ada@klaviyo-demo.com',
        consent: { 'email.marketing': { status: 'SUBSCRIBED' } },
        suppressions: [{ reason: 'USER_SUPPRESSED' }],
        listSuppressions: [],
        lists: ['L1'],
      },
    ]);
  });

  it('contains counters, requests by status, exceeded windows and import jobs', async () => {
    await record('ada', 'u1');
    await record('ada', 'u2');
    await at.post('/api/profile-bulk-import-jobs', toBulkProfiles([{ external_id: 'bo' }]));
    await at.clock.advance(300);
    expect((await at.get('/sandbox/stats')).body).toMatchObject({
      counters: { recorded: 1, imported: 1 },
      profiles: 2,
      requests: { total: 3, byStatus: { 202: 2, 429: 1 } },
      violations: { total: 1, newest: [{ endpoint: 'events', count: 2 }] },
    });
    expect((await at.get('/sandbox/imports')).body.data).toMatchObject([
      { status: 'complete', total: 1, failed: 0, profileCount: 1, errors: [] },
    ]);
    expect((await at.get('/sandbox/requests?limit=1')).body.data).toMatchObject([
      { endpoint: 'bulk-profiles' },
    ]);
  });

  it('needs no key, is not logged as a request to Klaviyo, and rejects unknown paths', async () => {
    expect((await at.send('/sandbox/stats', {})).status).toBe(200);
    expect((await at.send('/sandbox/nothing', {})).status).toBe(404);
    expect((await at.send('/sandbox/stats', { method: 'POST' })).status).toBe(404);
    expect(at.sandbox.state().requests).toEqual([]);
  });

  it('rejects changes from pages of other origins', async () => {
    await record('ada', 'u1');
    const foreign = { ...goodHeaders, origin: 'https://elsewhere.test' };
    expect((await at.send('/sandbox', { method: 'DELETE', headers: foreign })).status).toBe(403);
    expect((await at.post('/sandbox/faults', { status: 500 }, foreign)).status).toBe(403);
    expect(at.sandbox.state().counters.recorded).toBe(1);
    const own = { origin: at.sandbox.url };
    expect((await at.send('/sandbox', { method: 'DELETE', headers: own })).status).toBe(204);
  });
});

describe('the page of the sandbox', () => {
  it('has one column for each cell that its script writes about a profile', async () => {
    const { text } = await at.send('/', {});
    const [, profiles = ''] = /<table id="profiles">(.*?)<\/table>/s.exec(text) ?? [];
    const columns = [...profiles.matchAll(/<th>(.*?)<\/th>/g)].map(([, name]) => name);
    expect(columns).toEqual([
      ...['Who', 'Name', 'Consent', 'Suppressed', 'Lists', 'Properties', 'Updated'],
    ]);
  });

  it('is HTML without external resources, under a matching content security policy', async () => {
    const page = await at.send('/', {});
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.text).not.toMatch(/(?:src|href)="(?!data:,)/);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    for (const tag of ['style', 'script']) {
      const [, inline = ''] = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(page.text) ?? [];
      const hash = createHash('sha256').update(inline).digest('base64');
      expect(policy).toContain(`${tag}-src 'sha256-${hash}'`);
    }
  });

  it('has a script that parses and never writes markup', async () => {
    const { text } = await at.send('/', {});
    const [, script = ''] = /<script>(.*?)<\/script>/s.exec(text) ?? [];
    expect(() => new Script(script)).not.toThrow();
    expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write/);
  });
});
