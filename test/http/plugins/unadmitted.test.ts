import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findWriteKeys } from '../../../src/http/routes/sources/segment-write-keys.js';
import { maxHeldBytes } from '../../../src/http/plugins/unadmitted.js';
import { turnsUntil } from '../../support/sandbox.js';
import { secret as shopifySecret, toHeaders } from '../../support/shopify.js';
import { stripeSecret, toStripeHeaders } from '../../support/stripe-delivery.js';
import {
  adminKey,
  ingestKey,
  metricValue,
  problemOf,
  readResponse,
  startServer,
  type TestResponse,
  type Overrides,
} from '../harness.js';
import { acceptedOne } from '../../support/accepted-from-source.js';

const closed = {
  RELAY_API_KEYS: [ingestKey],
  RELAY_ADMIN_KEYS: [adminKey],
  SHOPIFY_WEBHOOK_SECRETS: [shopifySecret],
  STRIPE_WEBHOOK_SECRETS: [stripeSecret],
  BODY_LIMIT_BYTES: 5_000_000,
};

async function start(overrides: Overrides = {}) {
  const server = await startServer({
    acceptFromSource: () => Promise.resolve(acceptedOne),
    ...overrides,
    config: { ...closed, ...overrides.config },
  });
  /** Sends the headers and these bytes, and then nothing more. */
  const begin = (path: string, headers: Record<string, string | number>, body = '') => {
    const sent = request(server.url + path, { method: 'POST', headers });
    sent.flushHeaders();
    if (body !== '') sent.write(body);
    onTestFinished(() => void sent.destroy());
    return readResponse(sent);
  };
  return { ...server, begin };
}

const json = { 'content-type': 'application/json' };
const aCall = { type: 'track', userId: '42', event: 'Viewed', messageId: 'm-1' };
const filler = (bytes: number) => 'x'.repeat(bytes);
const seconds = (count: number) => count * 1000;

/** What analytics-python posts: no header has the key, and the body has it behind the batch. */
const asPython = (bytes: number) =>
  JSON.stringify({
    batch: [{ ...aCall, context: filler(bytes) }],
    sentAt: 'now',
    writeKey: ingestKey,
  });

describe('a write key in the body', () => {
  it.each([
    ['plain', (text: string) => Buffer.from(text), {}],
    ['gzip', (text: string) => gzipSync(text), { 'content-encoding': 'gzip' }],
    ['deflate', (text: string) => deflateSync(text), { 'content-encoding': 'deflate' }],
    ['br', (text: string) => brotliCompressSync(text), { 'content-encoding': 'br' }],
    [
      'gzip twice',
      (text: string) => gzipSync(gzipSync(text)),
      { 'content-encoding': 'gzip, gzip' },
    ],
  ])('is found after a batch of 500 KB: %s', async (_what, encode, headers) => {
    const { call } = await start();
    const body = encode(asPython(500_000));
    const response = await call('POST', '/v1/batch', { headers: { ...json, ...headers }, body });
    expect([response.status, response.json]).toMatchObject([200, { success: true }]);
  });

  it.each([
    ['plain', (text: string) => Buffer.from(text), {}],
    ['gzip', (text: string) => gzipSync(text, { level: 0 }), { 'content-encoding': 'gzip' }],
  ])('is found at the start of a body of any length: %s', async (_what, encode, headers) => {
    const { call } = await start();
    const text = JSON.stringify({
      writeKey: ingestKey,
      batch: [aCall],
      context: filler(3_000_000),
    });
    const body = encode(text);
    const response = await call('POST', '/v1/batch', { headers: { ...json, ...headers }, body });
    expect(response.status).toBe(200);
  });

  it('is found at the start of a body of unknown length', async () => {
    const { raw } = await start();
    const text = JSON.stringify({ writeKey: ingestKey, batch: [aCall], context: filler(100_000) });
    const response = await raw(
      'POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n' +
        `Connection: close\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
    );
    expect(response).toMatch(/^HTTP\/1\.1 200 /);
  });

  it.each([
    ['plain, behind more than Segment takes', Buffer.from(asPython(600_000)), {}],
    [
      'gzip, behind more than Segment takes',
      gzipSync(asPython(4_800_000)),
      { 'content-encoding': 'gzip' },
    ],
    [
      'gzip in gzip, behind more than Segment takes',
      gzipSync(gzipSync(asPython(4_800_000))),
      { 'content-encoding': 'gzip, gzip' },
    ],
  ])('is not searched for beyond that: %s', async (_what, body, headers) => {
    const { call } = await start();
    const response = await call('POST', '/v1/batch', { headers: { ...json, ...headers }, body });
    expect(response.status).toBe(401);
  });
});

describe('the search for write keys', () => {
  const find = (text: string) => findWriteKeys(Buffer.from(text));

  it.each([
    ['{"writeKey":"abc"}', ['abc']],
    ['{"a":1,"writeKey" \n: "a\\u0062c"}', ['abc']],
    ['{"writeKey":"é"', ['é']],
    ['{"writeKey":"abc', []],
    ['{"writeKey":12}', []],
    ['{"text":"say \\"writeKey\\":\\"abc\\""}', []],
    ['{"writeKey":"\\x"}', []],
    ['', []],
  ])('finds in %j: %j', (text, keys) => expect(find(text)).toEqual(keys));

  it('returns a bounded number of keys, the last one included, because each costs a hash', () => {
    const text = Array.from({ length: 1000 }, (_, index) => `"writeKey":"k${index}"`).join();
    const keys = find(text);
    expect(keys).toHaveLength(17);
    expect([keys[0], keys[16]]).toEqual(['k0', 'k999']);
  });
});

describe('a caller without a key', () => {
  it('is rejected once the start of its body has arrived without a key', async () => {
    const { begin } = await start();
    const headers = { ...json, 'content-length': 4_000_000 };
    const response = await begin('/v1/batch', headers, `{"batch":["${filler(30_000)}`);
    expect(response.status).toBe(401);
  });

  it.each([
    ['Basic', { authorization: `Basic ${Buffer.from('wrong-key-1:').toString('base64')}` }],
    ['an unknown encoding', { 'content-encoding': 'aws-chunked' }],
  ])('is rejected before its body is read if the headers suffice: %s', async (_what, headers) => {
    const { begin } = await start();
    const response = await begin('/v1/batch', { ...json, ...headers, 'content-length': 1000 });
    expect(response.status).toBe(401);
  });

  it('has 5 s to send the body that may contain its key', async () => {
    const { begin, clock } = await start();
    const results = begin('/v1/batch', { ...json, 'content-length': 1000 }, '{"batch":[');
    await turnsUntil(() => clock.pending() > 0);
    await clock.advance(seconds(5));
    const response = await results;
    expect([response.status, response.headers.connection]).toEqual([401, 'close']);
  });
});

const shopifyHeaders = {
  'x-shopify-hmac-sha256': Buffer.alloc(32).toString('base64'),
  'x-shopify-topic': 'orders/create',
  'x-shopify-shop-domain': 'ada.myshopify.com',
};
const ofStripe = (at: number) => ({
  'stripe-signature': `t=${Math.floor(at / 1000)},v1=${'a'.repeat(64)}`,
});

describe('a webhook', () => {
  it.each([
    ['/webhooks/shopify', 401, {}],
    ['/webhooks/shopify', 401, { 'x-shopify-hmac-sha256': 'abc' }],
    ['/webhooks/shopify', 415, { ...shopifyHeaders, 'content-encoding': 'gzip' }],
    ['/webhooks/shopify', 413, { ...shopifyHeaders, 'content-length': 5_000_001 }],
    ['/webhooks/stripe', 401, {}],
    ['/webhooks/stripe', 401, { 'stripe-signature': 't=1,v1=abc' }],
    ['/webhooks/stripe', 401, ofStripe(0)],
    [
      '/webhooks/stripe',
      413,
      { ...ofStripe(Date.UTC(2026, 0, 15, 12)), 'content-length': 5_000_001 },
    ],
  ])('at %s gets %d before its body is read', async (path, status, headers) => {
    const { begin } = await start();
    expect((await begin(path, { 'content-length': 1000, ...headers })).status).toBe(status);
  });

  it('may have 5,000,000 bytes even if other bodies may have more', async () => {
    const { begin } = await start({ config: { BODY_LIMIT_BYTES: 50_000_000 } });
    const headers = { ...shopifyHeaders, 'content-length': 5_000_001 };
    expect((await begin('/webhooks/shopify', headers)).status).toBe(413);
  });

  it('of unknown length is rejected once it exceeds the limit', async () => {
    const { call } = await start({ config: { BODY_LIMIT_BYTES: 10_000 } });
    const headers = { ...shopifyHeaders, 'transfer-encoding': 'chunked' };
    const response = await call('POST', '/webhooks/shopify', { headers, body: filler(10_001) });
    expect([response.status, problemOf(response)]).toEqual([413, 'too-large']);
  });

  it.each(['/webhooks/shopify', '/webhooks/stripe'])(
    'at %s gets 408 after 5 s, and the connection is closed',
    async (path) => {
      const { begin, clock } = await start();
      const headers = { ...shopifyHeaders, ...ofStripe(clock.now()), 'content-length': 1000 };
      const results = begin(path, headers, '{"id":');
      await turnsUntil(() => clock.pending() > 0);
      await clock.advance(seconds(5));
      const response = await results;
      expect([response.status, problemOf(response)]).toEqual([408, 'timeout']);
      expect(response.headers.connection).toBe('close');
    },
  );

  it('is accepted while other bodies stall, because the oldest of them is dropped', async () => {
    const { begin, call } = await start();
    const length = 4_900_000;
    const held = Math.floor(maxHeldBytes / length);
    const headers = { ...shopifyHeaders, 'content-length': length };
    const stalled: Promise<TestResponse>[] = [];
    const responses: number[] = [];
    for (let count = 0; count <= held; count++) {
      const results = begin('/webhooks/shopify', headers, filler(length - 1));
      // Those that still wait are broken off when the test ends.
      results.then(({ status }) => responses.push(status)).catch(() => undefined);
      stalled.push(results);
    }
    const first = await Promise.race(stalled);
    expect([first.status, first.headers['retry-after']]).toEqual([503, '1']);
    expect(problemOf(first)).toBe('unavailable');
    const order = JSON.stringify({ id: 1, email: 'ada@klaviyo-demo.com', note: filler(1_000_000) });
    const genuine = await call('POST', '/webhooks/shopify', {
      headers: await toHeaders(order, { topic: 'orders/create' }),
      body: order,
    });
    expect(genuine.status).toBe(200);
    expect(responses.every((status) => status === 503)).toBe(true);
  });

  it('with a valid signature is accepted from an address with too many failures', async () => {
    const { call, clock } = await start();
    for (let count = 0; count < 30; count++) await call('POST', '/webhooks/stripe');
    const event = '{"id":"evt_1","type":"x","data":{}}';
    const headers = toStripeHeaders(event, clock.now());
    expect((await call('POST', '/webhooks/stripe', { headers, body: event })).status).toBe(200);
  });
});

describe('requests without a valid key from one address', () => {
  const wrong = { 'x-api-key': 'wrong-key-1' };

  it.each([
    ['/v1/events', 'too-many-failures'],
    ['/v1/flush', 'too-many-failures'],
    ['/webhooks/shopify', 'too-many-failures'],
  ])(
    'get 429 with Retry-After at %s after 20 at once or more than one a second',
    async (path, kind) => {
      const { post, clock } = await start();
      for (let count = 0; count < 20; count++)
        expect((await post(path, {}, wrong)).status).toBe(401);
      const response = await post(path, {}, wrong);
      expect([response.status, problemOf(response)]).toEqual([429, kind]);
      expect(response.headers['retry-after']).toBe('1');
      await clock.advance(seconds(1));
      expect((await post(path, {}, wrong)).status).toBe(401);
      expect((await post(path, {}, wrong)).status).toBe(429);
    },
  );

  it.each(['/v1/events', '/v1/flush', '/webhooks/shopify', '/v1/batch', '/nowhere'])(
    'write one log line and then at most one a minute at %s',
    async (path) => {
      const { post, call, clock, logged, metrics } = await start();
      const started = logged.length;
      const lines = () => logged.slice(started).filter(({ level }) => Number(level) >= 30);
      for (let count = 0; count < 30; count++) await post(path, {}, wrong);
      const isCounted = path !== '/nowhere';
      const message = 'requests of callers without a valid key or signature were rejected';
      expect(lines().map(({ count, msg }) => ({ count, msg }))).toEqual(
        isCounted ? [{ count: 1, msg: message }] : [],
      );
      await clock.advance(seconds(60));
      await post(path, {}, wrong);
      expect(lines().map(({ count }) => count)).toEqual(isCounted ? [1, 30] : []);
      if (isCounted) expect(await metricValue(metrics, 'relay_auth_failures_total', {})).toBe(31);
      // An admitted caller's own mistake is a line of its own.
      const before = lines().length;
      const headers = { 'x-api-key': ingestKey, 'content-type': 'text/plain' };
      expect((await call('POST', '/v1/events', { headers, body: 'x' })).status).toBe(415);
      expect(lines().slice(before)).toMatchObject([{ status: 415, msg: 'answered' }]);
    },
  );

  it('get a response in the format of Segment on routes for its SDKs', async () => {
    const { post } = await start();
    for (let count = 0; count < 20; count++) await post('/v1/batch', { writeKey: 'wrong-key-1' });
    const response = await post('/v1/batch', { writeKey: 'wrong-key-1' });
    expect([response.status, response.headers['retry-after']]).toEqual([429, '1']);
    expect(response.json).toEqual({
      success: false,
      code: 'too_many_failures',
      message: 'too many requests without a valid key came from this address',
    });
  });

  it('do not affect a valid key in the headers or in the body', async () => {
    const { post } = await start();
    for (let count = 0; count < 30; count++) await post('/v1/events', {}, wrong);
    expect((await post('/v1/events', {}, { 'x-api-key': ingestKey })).status).toBe(202);
    expect((await post('/v1/batch', { batch: [aCall], writeKey: ingestKey })).status).toBe(200);
    expect((await post('/v1/flush', {}, { 'x-api-key': adminKey })).status).toBe(202);
  });

  it('are counted by the address that a trusted proxy names', async () => {
    const { post } = await start({ config: { TRUST_PROXY: 1 } });
    const from = (address: string) =>
      post('/v1/events', {}, { ...wrong, 'x-forwarded-for': address });
    for (let count = 0; count < 21; count++) await from('192.0.2.1');
    expect((await from('192.0.2.1')).status).toBe(429);
    expect((await from('192.0.2.2')).status).toBe(401);
  });

  it('are counted by route', async () => {
    const { post, metrics } = await start();
    await post('/v1/events', {}, wrong);
    await post('/v1/b/', { writeKey: 'wrong-key-1' });
    await post('/v1/b/', { writeKey: 'wrong-key-1' });
    await post('/webhooks/stripe', {});
    await post('/v1/events', {}, { 'x-api-key': ingestKey });
    const countOf = (route: string) => metricValue(metrics, 'relay_auth_failures_total', { route });
    expect(await countOf('/v1/events')).toBe(1);
    expect(await countOf('/v1/batch')).toBe(2);
    expect(await countOf('/webhooks/stripe')).toBe(1);
  });
});

describe('a request that expects "100 Continue"', () => {
  const expecting = (path: string, headers: string) =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n` +
    `Content-Type: application/json\r\nContent-Length: 2\r\n${headers}\r\n`;

  it.each([
    ['without a key', '/v1/events', '', 401],
    ['with a wrong key for the Segment API', '/v1/batch', 'Authorization: Basic eA==\r\n', 401],
    ['without a signature', '/webhooks/shopify', '', 401],
    ['for no address', '/v1/nothing', '', 404],
    [
      'of an unknown encoding',
      '/v1/events',
      `X-API-Key: ${ingestKey}\r\nContent-Encoding: x\r\n`,
      415,
    ],
  ])('is rejected without "100 Continue" %s', async (_what, path, headers, status) => {
    const { raw } = await start();
    const response = await raw(expecting(path, headers));
    expect(response.match(/HTTP\/1\.1 \d+/g)).toEqual([`HTTP/1.1 ${status}`]);
    expect(response).toMatch(/connection: close\r\n/i);
  });

  it.each([
    ['/v1/events', `X-API-Key: ${ingestKey}\r\n`, ['HTTP/1.1 100', 'HTTP/1.1 202']],
    ['/v1/batch', '', ['HTTP/1.1 100', 'HTTP/1.1 401']],
  ])('gets "100 Continue" if its body is read: %s', async (path, headers, expected) => {
    const { port } = await start();
    const socket = connect(port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    let response = '';
    socket.setEncoding('utf8').on('data', (part: string) => (response += part));
    socket.write(expecting(path, headers));
    await once(socket, 'data');
    expect(response).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('{}GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    await once(socket, 'close');
    expect(response.match(/HTTP\/1\.1 \d+/g)).toEqual([...expected, 'HTTP/1.1 200']);
  });
});
