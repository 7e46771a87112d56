import { describe, expect, it } from 'vitest';
import { adminKey, ingestKey, metricValue, problemOf, startServer } from './harness.js';

describe('health', () => {
  it('probe GET /livez responds 200 even if the relay is not ready', async () => {
    const server = await startServer({ readiness: () => ({ ready: false, checks: {} }) });
    const response = await server.call('GET', '/livez');
    expect([response.status, response.json]).toEqual([200, { status: 'ok' }]);
  });

  it.each([
    { ready: true, draining: false, status: 200, word: 'ready' },
    { ready: false, draining: false, status: 503, word: 'not_ready' },
    { ready: true, draining: true, status: 503, word: 'not_ready' },
  ])(
    'probe GET /readyz responds $status if ready is $ready and draining is $draining',
    async (given) => {
      const { ready, draining, status, word } = given;
      const checks = { store: { ok: true }, klaviyo: { ok: false, detail: 'the key is wrong' } };
      const readiness = () => ({ ready, checks });
      const server = await startServer({ readiness, isDraining: () => draining });
      const response = await server.call('GET', '/readyz');
      expect([response.status, response.json]).toEqual([status, { status: word, checks }]);
    },
  );
});

describe('metrics', () => {
  it('are served in the text exposition format', async () => {
    const server = await startServer();
    const response = await server.call('GET', '/metrics');
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toMatch(/^text\/plain; version=/);
    expect(response.text).toContain('relay_http_requests_total');
  });

  it.each([
    ['POST /v1/events', '/v1/events', '415'],
    ['GET /v1/receipts/ada@example.org', '/v1/receipts/:id', '404'],
    ['GET /v1/deliveries?limit=0', '/v1/deliveries', '400'],
    ['PUT /v1/events', '/v1/events', '405'],
    ['GET /ada@example.org', 'unmatched', '404'],
  ])('count %s under the route %s with status %s', async (line, route, status) => {
    const [method = '', path = ''] = line.split(' ');
    const server = await startServer();
    await server.call(method, path, method === 'POST' ? { body: '{}' } : {});
    const labels = { route, method, status };
    expect(await metricValue(server.metrics, 'relay_http_requests_total', labels)).toBe(1);
    const timed = { route };
    const name = 'relay_http_request_duration_seconds';
    expect(await metricValue(server.metrics, name, timed)).toBeDefined();
    expect(await server.metrics.registry.metrics()).not.toContain('ada@');
  });
});

describe('request ids', () => {
  it.each(['r-1', 'a.b_c-9', 'x'.repeat(128)])(
    'are those of the caller if they are safe: %s',
    async (id) => {
      const server = await startServer();
      const response = await server.post('/v1/events', {}, { 'x-request-id': id });
      expect(response.headers['x-request-id']).toBe(id);
    },
  );

  it.each(['', 'a b', '<script>', 'x'.repeat(129), 'ü'])(
    'are generated if that of the caller is not safe: "%s"',
    async (id) => {
      const server = await startServer();
      const response = await server.post('/v1/events', {}, { 'x-request-id': id });
      expect(response.headers['x-request-id']).toMatch(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    },
  );

  it('differ from request to request', async () => {
    const server = await startServer();
    const ids = [await server.call('GET', '/livez'), await server.call('GET', '/livez')].map(
      ({ headers }) => headers['x-request-id'],
    );
    expect(new Set(ids).size).toBe(2);
  });
});

describe('the log', () => {
  it('has a line for each response that is not 2xx, with the route and the request id', async () => {
    const server = await startServer({ backpressure: () => ({ reason: 'full', retryAfterMs: 1 }) });
    const headers = { 'x-request-id': 'r-1' };
    await server.call('GET', '/livez');
    await server.call('GET', '/v1/receipts/e1', { headers });
    await server.post('/v1/events', {}, headers);
    const responses = server.logged.filter(({ msg }) => msg === 'answered');
    expect(responses).toEqual([
      expect.objectContaining({
        level: 30,
        requestId: 'r-1',
        method: 'GET',
        route: '/v1/receipts/:id',
        status: 404,
      }),
      expect.objectContaining({ level: 40, requestId: 'r-1', route: '/v1/events', status: 503 }),
    ]);
  });

  it('has a line for every response at level debug', async () => {
    const server = await startServer({ logLevel: 'debug' });
    await server.call('GET', '/livez');
    expect(server.logged).toContainEqual(
      expect.objectContaining({ level: 20, route: '/livez', status: 200 }),
    );
  });

  it('contains no key, body, query, header or address', async () => {
    const fail = () => Promise.reject(new Error('broken'));
    const server = await startServer({
      logLevel: 'trace',
      config: { RELAY_API_KEYS: [ingestKey], RELAY_ADMIN_KEYS: [adminKey] },
      accept: { one: fail, many: fail },
    });
    const headers = { authorization: `Bearer ${ingestKey}`, 'x-trace': 'zelda-trace' };
    await server.post('/v1/events', { email: 'zelda@klaviyo-demo.com' }, headers);
    await server.post(
      '/v1/events?email=zelda@klaviyo-demo.com',
      {},
      { 'x-api-key': 'wrong-zelda-key' },
    );
    await server.call('GET', '/v1/receipts/zelda', { headers: { 'x-api-key': adminKey } });
    await server.call('GET', '/zelda', { headers });
    const log = JSON.stringify(server.logged);
    expect(server.logged.filter(({ msg }) => msg === 'answered')).toHaveLength(4);
    expect(log).not.toMatch(/zelda|wrong|ingest-key|admin-key|Bearer/);
  });
});

describe('every response', () => {
  it.each(['/livez', '/v1/receipts/e1', '/nothing'])(
    'to GET %s has security headers',
    async (path) => {
      const server = await startServer();
      const { headers } = await server.call('GET', path);
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'cross-origin-resource-policy': 'same-origin',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      });
      expect(headers).not.toHaveProperty('x-powered-by');
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    },
  );
});

describe('an unknown address', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/events/'],
    ['POST', '/v2/events'],
    ['GET', '/v1/receipts/'],
  ])('gets 404: %s %s', async (method, path) => {
    const server = await startServer();
    const response = await server.call(method, path);
    expect([response.status, problemOf(response)]).toEqual([404, 'not-found']);
  });

  it('gets 404 for any posted body', async () => {
    const server = await startServer();
    const headers = { 'content-type': 'text/plain' };
    const body = 'a'.repeat(100_000);
    expect((await server.call('POST', '/nothing', { headers, body })).status).toBe(404);
  });

  it('with a malformed percent-encoding gets 400', async () => {
    const server = await startServer();
    const response = await server.call('GET', '/v1/receipts/%zz');
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
  });

  it('with an id that is too long gets a problem', async () => {
    const server = await startServer();
    const response = await server.call('GET', `/v1/receipts/${'a'.repeat(1000)}`);
    expect([response.status, problemOf(response)]).toEqual([404, 'not-found']);
  });
});

describe('a method that an address does not support', () => {
  it.each([
    ['GET', '/v1/events', 'POST'],
    ['OPTIONS', '/v1/events', 'POST'],
    ['PUT', '/v1/profiles/batch', 'POST'],
    ['POST', '/v1/deliveries', 'GET, HEAD'],
    ['PATCH', '/v1/dead-letters', 'DELETE, GET, HEAD'],
    ['PUT', '/v1/dead-letters/e1', 'DELETE, GET, HEAD'],
    ['DELETE', '/livez', 'GET, HEAD'],
    ['POST', '/metrics', 'GET, HEAD'],
  ])('gets 405 with the supported methods in Allow: %s %s', async (method, path, allow) => {
    const server = await startServer();
    const response = await server.call(method, path);
    expect([response.status, problemOf(response)]).toEqual([405, 'method-not-allowed']);
    expect(response.headers.allow).toBe(allow);
  });

  it('is never HEAD if the address supports GET', async () => {
    const server = await startServer();
    const response = await server.call('HEAD', '/livez');
    expect([response.status, response.text]).toEqual([200, '']);
  });
});
