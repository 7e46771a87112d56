import { afterEach, describe, expect, it } from 'vitest';
import { goodHeaders, startTestSandbox, toSingleEvent } from '../support/sandbox.js';
import type { SandboxUnderTest } from '../support/sandbox.js';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';

let at: SandboxUnderTest;
const start = async (options?: Partial<SandboxOptions>): Promise<void> => {
  at = await startTestSandbox(options);
};
afterEach(() => at.sandbox.close());

const without = (name: keyof typeof goodHeaders): Record<string, string> =>
  Object.fromEntries(Object.entries(goodHeaders).filter(([header]) => header !== name));

describe('the key', () => {
  it('that starts with pk_ is fine where none are configured', async () => {
    await start();
    expect((await at.get('/api/accounts')).status).toBe(200);
  });

  it('that is unknown gets the recorded 401, without rate headers', async () => {
    await start({ apiKeys: ['pk_known'], windows: {} });
    const answer = await at.get('/api/accounts');
    expect(answer.status).toBe(401);
    expect(answer.errors[0]).toMatchObject({
      status: 401,
      code: 'authentication_failed',
      title: 'Incorrect authentication credentials.',
      detail: 'Incorrect authentication credentials.',
      source: { pointer: '/data/' },
    });
    expect(answer.headers.get('ratelimit-limit')).toBeNull();
    expect(answer.headers.get('content-type')).toBe('application/vnd.api+json');
    const known = await at.get('/api/accounts', { authorization: 'Klaviyo-API-Key pk_known' });
    expect(known.status).toBe(200);
  });

  it.each([undefined, 'Bearer pk_test_1', 'pk_test_1', 'Klaviyo-API-Key'])(
    'under another scheme (%s) gets the text that names the right one',
    async (authorization) => {
      await start();
      const headers = { ...without('authorization'), ...(authorization && { authorization }) };
      const answer = await at.send('/api/accounts', { headers });
      expect(answer.status).toBe(401);
      expect(answer.errors[0]).toMatchObject({
        code: 'not_authenticated',
        title: 'Authentication credentials were not provided.',
        detail: 'Missing or invalid authorization scheme. Please use Klaviyo-API-Key.',
      });
    },
  );

  it('that starts with anything but pk_ is a wrong key', async () => {
    await start();
    const answer = await at.get('/api/accounts', { authorization: 'Klaviyo-API-Key AbC123' });
    expect(answer.errors[0]).toMatchObject({ code: 'authentication_failed' });
  });
});

describe('scopes', () => {
  it('that are missing give 403 permission_denied and name them', async () => {
    await start({ scopes: { pk_test_1: ['profiles:write', 'events:write'] } });
    const answer = await at.post('/api/profile-bulk-import-jobs', {});
    expect(answer.status).toBe(403);
    expect(answer.errors[0]).toMatchObject({
      code: 'permission_denied',
      title: 'You do not have permission to perform this action.',
    });
    expect(answer.errors[0]?.detail).toMatch(/: lists:write$/);
    const event = await at.post('/api/events', toSingleEvent({ external_id: 'c1' }));
    expect(event.status).toBe(202);
  });

  it.each([
    ['POST /api/event-bulk-create-jobs', 'events:write'],
    ['POST /api/profile-import', 'profiles:write'],
    ['GET /api/profile-bulk-import-jobs', 'lists:read'],
    ['GET /api/profile-bulk-import-jobs/x/import-errors', 'profiles:read'],
    ['GET /api/events', 'events:read'],
    ['GET /api/metrics', 'metrics:read'],
    ['GET /api/profiles/x', 'profiles:read'],
    ['GET /api/accounts', 'accounts:read'],
  ])('%s needs %s', async (call, scope) => {
    await start({ scopes: { pk_test_1: [] } });
    const [method = '', path = ''] = call.split(' ');
    const answer = await at.send(path, { method, headers: goodHeaders });
    expect(answer.status).toBe(403);
    expect(answer.errors[0]?.detail).toContain(scope);
  });

  it('of a key that is not named are all granted', async () => {
    await start({ scopes: { pk_other: [] } });
    expect((await at.get('/api/metrics')).status).toBe(200);
  });
});

describe('the revision', () => {
  it('that is missing or malformed is a 400', async () => {
    await start();
    const missing = await at.send('/api/accounts', { headers: without('revision') });
    expect(missing.status).toBe(400);
    for (const revision of ['2024-13-01', '2024-02-30', 'latest', '20241015', '2024-10-15 ,x']) {
      const answer = await at.get('/api/accounts', { revision });
      expect([revision, answer.status]).toEqual([revision, 400]);
      expect(answer.errors[0]?.code).toBe('invalid');
    }
  });

  it('of a future date is a 404 in the recorded words', async () => {
    await start();
    const answer = await at.get('/api/accounts', { revision: '2026-11-02' });
    expect(answer.status).toBe(404);
    expect(answer.errors[0]?.detail).toBe('Unable to specify a future revision date');
    expect((await at.get('/api/accounts', { revision: '2026-11-01' })).status).toBe(200);
  });

  it('that is too old is a 404 that names the earliest', async () => {
    await start();
    const answer = await at.get('/api/accounts', { revision: '2020-01-01' });
    expect(answer.status).toBe(404);
    expect(answer.errors[0]?.detail).toContain('before the earliest available, use a date after');
  });

  it('may carry a suffix', async () => {
    await start();
    expect((await at.get('/api/accounts', { revision: '2026-07-15.pre' })).status).toBe(200);
  });
});

describe('paths and methods', () => {
  it('are taken with and without a trailing slash', async () => {
    await start();
    expect((await at.get('/api/accounts/')).status).toBe(200);
    const body = toSingleEvent({ external_id: 'c1' });
    expect((await at.post('/api/events/', body)).status).toBe(202);
  });

  it('that do not exist are a 404, and the wrong method is a 405', async () => {
    await start();
    const unknown = await at.get('/api/nothing');
    expect(unknown.status).toBe(404);
    expect(unknown.errors[0]?.detail).toBe('No valid revisions found for method');
    expect((await at.get('/api/event-bulk-create-jobs')).status).toBe(405);
    expect((await at.get('/api/profiles/a/b')).status).toBe(404);
  });

  it.each([
    'GET /api/campaigns',
    'GET /api/segments/x/profiles',
    'POST /api/lists',
    'DELETE /api/lists/x',
    'POST /api/profile-merge',
    'GET /api/profiles/x/conversations',
    'POST /client/events',
  ])('that Klaviyo has and the sandbox does not play are a 501: %s', async (call) => {
    await start();
    const [method = '', path = ''] = call.split(' ');
    const answer = await at.send(path, { method, headers: goodHeaders });
    expect(answer.status).toBe(501);
    expect(answer.errors[0]).toMatchObject({ status: 501, code: 'not_implemented' });
    expect(answer.errors[0]?.detail).toContain(call);
    expect(at.sandbox.state().requests).toMatchObject([{ endpoint: 'unknown', status: 501 }]);
  });

  it.each(['/api/v2/lists', '/api/v1/people', '/api/track', '/api/identify'])(
    '%s is long retired: 410, not JSON:API',
    async (path) => {
      await start();
      const answer = await at.get(path);
      expect(answer.status).toBe(410);
      expect(answer.body.message).toContain('This API has been retired');
    },
  );

  it('with a hostile target never break it', async () => {
    await start();
    for (const path of ['//', '/api/profiles/%', '/api/profiles/..%2f', '/%00']) {
      expect((await at.get(path)).status).toBeLessThan(500);
    }
  });
});
