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

describe('an API key', () => {
  it('that starts with pk_ is valid if no keys are configured', async () => {
    await start();
    expect((await at.get('/api/accounts')).status).toBe(200);
  });

  it('that is not configured gets the recorded 401 without rate limit headers', async () => {
    await start({ apiKeys: ['pk_known'], windows: {} });
    const response = await at.get('/api/accounts');
    expect(response.status).toBe(401);
    expect(response.errors[0]).toMatchObject({
      status: 401,
      code: 'authentication_failed',
      title: 'Incorrect authentication credentials.',
      detail: 'Incorrect authentication credentials.',
      source: { pointer: '/data/' },
    });
    expect(response.headers.get('ratelimit-limit')).toBeNull();
    expect(response.headers.get('content-type')).toBe('application/vnd.api+json');
    const known = await at.get('/api/accounts', { authorization: 'Klaviyo-API-Key pk_known' });
    expect(known.status).toBe(200);
  });

  it.each([undefined, 'Bearer pk_test_1', 'pk_test_1', 'Klaviyo-API-Key'])(
    'under another scheme (%s) gets the 401 that names the right scheme',
    async (authorization) => {
      await start();
      const headers = { ...without('authorization'), ...(authorization && { authorization }) };
      const response = await at.send('/api/accounts', { headers });
      expect(response.status).toBe(401);
      expect(response.errors[0]).toMatchObject({
        code: 'not_authenticated',
        title: 'Authentication credentials were not provided.',
        detail: 'Missing or invalid authorization scheme. Please use Klaviyo-API-Key.',
      });
    },
  );

  it('that does not start with pk_ is invalid', async () => {
    await start();
    const response = await at.get('/api/accounts', { authorization: 'Klaviyo-API-Key AbC123' });
    expect(response.errors[0]).toMatchObject({ code: 'authentication_failed' });
  });
});

describe('the scopes of a key', () => {
  it('get a 403 permission_denied with their names if they are missing', async () => {
    await start({ scopes: { pk_test_1: ['profiles:write', 'events:write'] } });
    const response = await at.post('/api/profile-bulk-import-jobs', {});
    expect(response.status).toBe(403);
    expect(response.errors[0]).toMatchObject({
      code: 'permission_denied',
      title: 'You do not have permission to perform this action.',
    });
    expect(response.errors[0]?.detail).toMatch(/: lists:write$/);
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
    ['POST /api/profile-subscription-bulk-create-jobs', 'subscriptions:write'],
    ['POST /api/profile-subscription-bulk-delete-jobs', 'lists:write'],
    ['POST /api/profile-suppression-bulk-create-jobs', 'profiles:write'],
    ['POST /api/profile-suppression-bulk-delete-jobs', 'subscriptions:write'],
    ['GET /api/profile-suppression-bulk-create-jobs/x', 'subscriptions:read'],
    ['POST /api/lists/x/relationships/profiles', 'lists:write'],
    ['DELETE /api/lists/x/relationships/profiles', 'profiles:write'],
    ['POST /api/data-privacy-deletion-jobs', 'data-privacy:write'],
    ['POST /api/profile-merge', 'profiles:write'],
    ['POST /api/catalog-item-bulk-create-jobs', 'catalogs:write'],
    ['GET /api/catalog-variant-bulk-create-jobs/x', 'catalogs:read'],
  ])('for %s must include %s', async (call, scope) => {
    await start({ scopes: { pk_test_1: [] } });
    const [method = '', path = ''] = call.split(' ');
    const response = await at.send(path, { method, headers: goodHeaders });
    expect(response.status).toBe(403);
    expect(response.errors[0]?.detail).toContain(scope);
  });

  it('include all scopes if the key has no entry', async () => {
    await start({ scopes: { pk_other: [] } });
    expect((await at.get('/api/metrics')).status).toBe(200);
  });
});

describe('the revision header', () => {
  it('gets a 400 if it is missing or malformed', async () => {
    await start();
    const missing = await at.send('/api/accounts', { headers: without('revision') });
    expect(missing.status).toBe(400);
    for (const revision of ['2024-13-01', '2024-02-30', 'latest', '20241015', '2024-10-15 ,x']) {
      const response = await at.get('/api/accounts', { revision });
      expect([revision, response.status]).toEqual([revision, 400]);
      expect(response.errors[0]?.code).toBe('invalid');
    }
  });

  it('gets the recorded 404 for a future date', async () => {
    await start();
    const response = await at.get('/api/accounts', { revision: '2026-11-02' });
    expect(response.status).toBe(404);
    expect(response.errors[0]?.detail).toBe('Unable to specify a future revision date');
    expect((await at.get('/api/accounts', { revision: '2026-11-01' })).status).toBe(200);
  });

  it('gets a 404 with the earliest revision if it is too old', async () => {
    await start();
    const response = await at.get('/api/accounts', { revision: '2020-01-01' });
    expect(response.status).toBe(404);
    expect(response.errors[0]?.detail).toContain('before the earliest available, use a date after');
  });

  it('may carry a suffix', async () => {
    await start();
    expect((await at.get('/api/accounts', { revision: '2026-07-15.pre' })).status).toBe(200);
  });
});

describe('a path', () => {
  it('is accepted with and without a trailing slash', async () => {
    await start();
    expect((await at.get('/api/accounts/')).status).toBe(200);
    const body = toSingleEvent({ external_id: 'c1' });
    expect((await at.post('/api/events/', body)).status).toBe(202);
  });

  it('gets a 404 if it does not exist and a 405 for a wrong method', async () => {
    await start();
    const unknown = await at.get('/api/nothing');
    expect(unknown.status).toBe(404);
    expect(unknown.errors[0]?.detail).toBe('No valid revisions found for method');
    expect((await at.get('/api/event-bulk-create-jobs')).status).toBe(405);
    expect((await at.get('/api/profile-merge')).status).toBe(405);
    expect((await at.get('/api/profiles/a/b')).status).toBe(404);
  });

  it.each([
    'GET /api/campaigns',
    'GET /api/segments/x/profiles',
    'POST /api/lists',
    'DELETE /api/lists/x',
    'GET /api/catalog-items',
    'GET /api/catalog-item-bulk-create-jobs',
    'GET /api/profiles/x/conversations',
    'POST /client/events',
  ])('gets a 501 if Klaviyo has it and the sandbox does not imitate it: %s', async (call) => {
    await start();
    const [method = '', path = ''] = call.split(' ');
    const response = await at.send(path, { method, headers: goodHeaders });
    expect(response.status).toBe(501);
    expect(response.errors[0]).toMatchObject({ status: 501, code: 'not_implemented' });
    expect(response.errors[0]?.detail).toContain(call);
    expect(at.sandbox.state().requests).toMatchObject([{ endpoint: 'unknown', status: 501 }]);
  });

  it.each(['/api/v2/lists', '/api/v1/people', '/api/track', '/api/identify'])(
    'of the retired API %s gets a 410 that is not JSON:API',
    async (path) => {
      await start();
      const response = await at.get(path);
      expect(response.status).toBe(410);
      expect(response.body.message).toContain('This API has been retired');
    },
  );

  it('with a hostile target does not crash the sandbox', async () => {
    await start();
    for (const path of ['//', '/api/profiles/%', '/api/profiles/..%2f', '/%00']) {
      expect((await at.get(path)).status).toBeLessThan(500);
    }
  });
});
