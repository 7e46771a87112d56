import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createKeyring, isLoopbackHost } from '../../../src/http/plugins/auth.js';
import { adminKey, ingestKey, problemOf, readResponse, startServer } from '../harness.js';

const keys = { RELAY_API_KEYS: ['older-key-0', ingestKey], RELAY_ADMIN_KEYS: [adminKey] };

const ingestRoutes = [
  ['POST', '/v1/events'],
  ['POST', '/v1/events/batch'],
  ['POST', '/v1/profiles'],
  ['POST', '/v1/profiles/batch'],
] as const;

const adminRoutes = [
  ['GET', '/v1/receipts/e1'],
  ['GET', '/v1/deliveries'],
  ['GET', '/v1/deliveries/d1'],
  ['GET', '/v1/dead-letters'],
  ['GET', '/v1/dead-letters/e1'],
  ['POST', '/v1/dead-letters/redrive'],
  ['POST', '/v1/dead-letters/e1/redrive'],
  ['DELETE', '/v1/dead-letters'],
  ['DELETE', '/v1/dead-letters/e1'],
  ['POST', '/v1/flush'],
  ['POST', '/v1/lanes/events/pause'],
  ['POST', '/v1/lanes/events/resume'],
] as const;

const openRoutes = [
  ['GET', '/livez'],
  ['GET', '/readyz'],
  ['GET', '/metrics'],
  ['GET', '/docs'],
  ['GET', '/openapi.json'],
] as const;

const denials = [401, 403];
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

describe.each(ingestRoutes)('%s %s', (method, path) => {
  it.each([
    ['an ingest key', bearer(ingestKey)],
    ['an older ingest key', bearer('older-key-0')],
    ['an ingest key in X-API-Key', { 'x-api-key': ingestKey }],
    ['a lowercase bearer', { authorization: `bearer ${ingestKey}` }],
    ['an admin key', bearer(adminKey)],
  ])('is open to %s', async (_who, headers) => {
    const server = await startServer({ config: keys });
    const type = { 'content-type': 'application/json' };
    const response = await server.call(method, path, {
      headers: { ...type, ...headers },
      body: '1',
    });
    expect(response.status).toBe(202);
  });
});

describe.each([...ingestRoutes, ...adminRoutes])('%s %s', (method, path) => {
  it('responds 401 to a request without a key and describes how to send one', async () => {
    const server = await startServer({ config: keys });
    const response = await server.call(method, path);
    expect([response.status, problemOf(response)]).toEqual([401, 'unauthorized']);
    expect(response.headers['www-authenticate']).toBe('Bearer realm="klaviyo-relay"');
    expect(server.accepted).toEqual([]);
  });

  it('responds 401 to anything but a complete key, and does not repeat it', async () => {
    const server = await startServer({ config: keys });
    for (const headers of [
      bearer('wrong-key-00'),
      bearer(ingestKey.slice(0, -1)),
      bearer(`${ingestKey}x`),
      bearer(ingestKey.toUpperCase()),
      bearer(`${ingestKey},${adminKey}`),
      { 'x-api-key': 'wrong-key-00' },
    ]) {
      const response = await server.call(method, path, { headers });
      expect([response.status, problemOf(response)]).toEqual([401, 'unauthorized']);
      expect(response.headers['www-authenticate']).toContain('error="invalid_token"');
      expect(response.text).not.toMatch(/wrong-key|ingest-key/i);
    }
    expect(server.accepted).toEqual([]);
  });

  it('responds 401 to another authentication scheme', async () => {
    const server = await startServer({ config: keys });
    const authorization = `Basic ${Buffer.from(`${ingestKey}:`).toString('base64')}`;
    expect((await server.call(method, path, { headers: { authorization } })).status).toBe(401);
  });
});

describe.each(adminRoutes)('%s %s', (method, path) => {
  it('responds 403 to an ingest key', async () => {
    const server = await startServer({ config: keys });
    const response = await server.call(method, path, { headers: bearer(ingestKey) });
    expect([response.status, problemOf(response)]).toEqual([403, 'forbidden']);
  });

  it('accepts an admin key', async () => {
    const server = await startServer({ config: keys });
    const { status } = await server.call(method, path, { headers: bearer(adminKey) });
    expect(denials).not.toContain(status);
  });

  it('rejects all callers if no admin keys are configured', async () => {
    const server = await startServer({ config: { RELAY_API_KEYS: [ingestKey] } });
    expect((await server.call(method, path, { headers: bearer(ingestKey) })).status).toBe(403);
    expect((await server.call(method, path)).status).toBe(401);
  });

  it('accepts all callers if no keys are configured', async () => {
    const server = await startServer();
    expect(denials).not.toContain((await server.call(method, path)).status);
  });
});

describe.each(openRoutes)('%s %s', (method, path) => {
  it('needs no key', async () => {
    const server = await startServer({ config: keys });
    expect((await server.call(method, path)).status).toBe(200);
  });
});

describe('a keyring', () => {
  it('reads the current keys at each request', () => {
    let keys = { ingest: ['first-key-1'], admin: ['admin-key-1'] };
    const keyring = createKeyring(() => keys);
    expect(keyring.identify('first-key-1')?.access).toBe('ingest');
    keys = { ingest: ['second-key-1'], admin: keys.admin };
    expect(keyring.identify('first-key-1')).toBeNull();
    expect(keyring.identify('second-key-1')?.access).toBe('ingest');
    expect(keyring.identify('admin-key-1')?.access).toBe('admin');
  });

  it('gives admin access to a key that is in both lists', () => {
    const keyring = createKeyring(() => ({ ingest: ['both-keys-1'], admin: ['both-keys-1'] }));
    expect(keyring.identify('both-keys-1')?.access).toBe('admin');
  });

  it('identifies each key by an id that does not contain it', () => {
    const keyring = createKeyring(() => ({ ingest: [ingestKey, 'other-key-1'], admin: [] }));
    const ids = [ingestKey, 'other-key-1'].map((key) => keyring.identify(key)?.id);
    expect(new Set(ids).size).toBe(2);
    expect(ids[0]).toMatch(/^[0-9a-f]{16}$/);
  });

  it('identifies no caller by an empty key', () => {
    expect(createKeyring(() => ({ ingest: [ingestKey], admin: [] })).identify('')).toBeNull();
  });
});

describe('without keys', () => {
  it.each([
    ['Host: shop.example.com', { host: 'shop.example.com' }],
    ['Host: 127.0.0.1.example.com', { host: '127.0.0.1.example.com:3000' }],
    ['Origin: https://shop.example.com', { origin: 'https://shop.example.com' }],
    ['Origin: null', { origin: 'null' }],
    ['Origin: a name that only starts like this machine', { origin: 'http://localhost.evil.com' }],
  ])('a page from elsewhere is refused: %s', async (_what, headers) => {
    const server = await startServer();
    const response = await server.post('/v1/events', {}, headers);
    expect([response.status, problemOf(response)]).toEqual([403, 'forbidden']);
    expect(server.accepted).toEqual([]);
  });

  it.each([
    ['Host: localhost', { host: 'localhost:3000' }],
    ['its own page', { host: '127.0.0.1:3000', origin: 'http://127.0.0.1:3000' }],
  ])('this machine is served: %s', async (_what, headers) => {
    const server = await startServer();
    expect((await server.post('/v1/events', {}, headers)).status).toBe(202);
  });

  it('metrics are not served to a page of another origin', async () => {
    const server = await startServer();
    const headers = { host: 'shop.example.com' };
    expect((await server.call('GET', '/metrics', { headers })).status).toBe(403);
  });
});

describe('with keys', () => {
  it('requests with any Host header are accepted', async () => {
    const server = await startServer({ config: keys });
    const headers = { host: 'relay.example.com', ...bearer(ingestKey) };
    expect((await server.post('/v1/events', {}, headers)).status).toBe(202);
  });

  it('a caller without a key is rejected before its body is read', async () => {
    const server = await startServer({ config: keys });
    const sent = request(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': 1000 },
    });
    sent.flushHeaders();
    const response = await readResponse(sent);
    expect([response.status, problemOf(response)]).toEqual([401, 'unauthorized']);
    sent.destroy();
  });
});

describe('a loopback host', () => {
  it.each([
    'localhost',
    'LOCALHOST:80',
    'relay.localhost',
    '127.0.0.1',
    '127.8.8.8:1',
    '[::1]:3000',
  ])('is %s', (host) => expect(isLoopbackHost(host)).toBe(true));

  it.each([
    '',
    'example.com',
    'localhost.com',
    '127.0.0.1.nip.io',
    '10.0.0.1',
    '[::2]',
    '127.0.0.1@x',
  ])('is not "%s"', (host) => expect(isLoopbackHost(host)).toBe(false));
});
