import '@shopify/shopify-api/adapters/node';
import { ApiVersion, LogSeverity, shopifyApi } from '@shopify/shopify-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type {
  AcceptFromSource,
  AcceptedFromSource,
} from '../../../src/ingest/accept-from-source.js';
import { anOrder, secret, shop, sign, toHeaders } from '../../support/shopify.js';
import { problemOf, startServer, type TestResponse, type Overrides } from '../../http/harness.js';

const path = '/webhooks/shopify';
const taken: AcceptedFromSource = {
  kind: 'accepted',
  accepted: 2,
  duplicates: 1,
  waiting: 0,
  warnings: [],
  rejected: [{ index: 0, code: 'not_valid', errors: [] }],
  repeat: false,
};
const order = JSON.stringify(anOrder({ note: 'für Ada ✓' }));

const signedHeaders = await toHeaders(order, { topic: 'orders/create' });
const { 'x-shopify-hmac-sha256': signature, ...unsigned } = signedHeaders;
const byAnother = await sign(order, 'another-secret');
const byBlank = await sign(order, ' ');
const ofLonger = await sign(`${order} `);
const ofNothing = await sign('');

const signed = (value: string) => ({ ...unsigned, 'x-shopify-hmac-sha256': value });

/** Headers with the names of Shopify's newer deliveries. */
const newerHeaders = Object.fromEntries(
  Object.entries({ ...signedHeaders, 'x-shopify-event-id': 'ev-1' }).map(([name, value]) => [
    name.replace(/^x-/, ''),
    value,
  ]),
);

async function startShop(overrides: Overrides & { readonly answer?: AcceptedFromSource } = {}) {
  const { answer: response = taken, config, ...others } = overrides;
  const posts: Parameters<AcceptFromSource>[] = [];
  const server = await startServer({
    acceptFromSource: (...args) => {
      posts.push(args);
      return Promise.resolve(response);
    },
    config: { SHOPIFY_WEBHOOK_SECRETS: [secret], ...config },
    ...others,
  });
  const post = (body: string | Buffer, headers: Readonly<Record<string, string>>) =>
    server.call('POST', path, { body, headers });
  return { server, posts, post };
}

const longBodies = { SHOPIFY_WEBHOOK_SECRETS: [secret], BODY_LIMIT_BYTES: 5_000_000 };

const detailOf = ({ json }: TestResponse): unknown => (json as { detail?: unknown }).detail;

describe('a webhook that Shopify signed', () => {
  it('is mapped, accepted and answered 200 with the counts', async () => {
    const { post, posts } = await startShop();
    const response = await post(order, signedHeaders);
    expect([response.status, response.json]).toEqual([
      200,
      {
        accepted: 2,
        duplicates: 1,
        waiting: 0,
        dead_lettered: 1,
        skipped: [],
        warnings: [],
        repeat: false,
      },
    ]);
    expect(posts).toMatchObject([
      [
        {
          source: 'shopify',
          topic: 'orders/create',
          delivery: 'wh-1',
          entries: [{ entry: { event_name: 'Placed Order', value: 67.35 } }, {}],
          people: [{ key: `order:${shop}:1001` }],
        },
        { strict: false },
      ],
    ]);
  });

  it('may have headers without X-', async () => {
    const { post, posts } = await startShop();
    const response = await post(order, newerHeaders);
    expect(response.status).toBe(200);
    expect(posts).toMatchObject([[{ topic: 'orders/create', delivery: 'wh-1' }, {}]]);
  });

  it('is mapped with the configured order value', async () => {
    const { post, posts } = await startShop({
      config: {
        SHOPIFY_WEBHOOK_SECRETS: [secret],
        SHOPIFY_ORDER_VALUE: 'subtotal_and_shipping',
      },
    });
    await post(order, signedHeaders);
    expect(posts).toMatchObject([[{ entries: [{ entry: { value: 60.07 } }, {}] }, {}]]);
  });

  it.each([
    ['customers/redact', 'anonymous'],
    ['shop/redact', 'shop_redact'],
    ['customers/data_request', 'data_request'],
    ['products/create', 'unmapped'],
  ])('of the topic %s without content is answered 200 and skipped: %s', async (topic, reason) => {
    const { post, posts } = await startShop();
    expect((await post('{}', await toHeaders('{}', { topic }))).status).toBe(200);
    expect(posts).toMatchObject([[{ entries: [], skipped: [{ reason }] }, {}]]);
  });

  it('of a topic without a map may contain lists of any length', async () => {
    const { post, posts } = await startShop({ config: longBodies });
    const body = JSON.stringify({ id: 1, variants: Array<number>(100_000).fill(1) });
    const response = await post(body, await toHeaders(body, { topic: 'products/create' }));
    expect(response).toMatchObject({ status: 200, json: { skipped: ['unmapped'] } });
    expect(posts).toMatchObject([[{ entries: [], skipped: [{ reason: 'unmapped' }] }, {}]]);
  });

  it('is accepted without a list that is too long', async () => {
    const { post, posts } = await startShop({ config: longBodies });
    const others = Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`x${i}`, i]));
    const body = JSON.stringify({
      ...others,
      ...anOrder({ line_items: Array<object>(9000).fill({}) }),
    });
    const response = await post(body, await toHeaders(body, { topic: 'orders/create' }));
    expect(response).toMatchObject({ status: 200, json: { skipped: ['too_long'] } });
    expect(posts).toMatchObject([
      [
        {
          entries: [{ entry: { event_name: 'Placed Order', value: 67.35, order_id: '1001' } }],
          people: [{ key: `order:${shop}:1001` }],
        },
        {},
      ],
    ]);
  });

  it('keeps lists below the bound', async () => {
    const { post, posts } = await startShop({ config: longBodies });
    const body = JSON.stringify(anOrder({ line_items: Array<object>(5000).fill({ price: '1' }) }));
    const response = await post(body, await toHeaders(body, { topic: 'orders/create' }));
    expect(response).toMatchObject({ status: 200, json: { skipped: [] } });
    expect(posts[0]?.[0].entries).toHaveLength(5001);
  });

  it('needs no key of the relay, and no content type', async () => {
    const { post } = await startShop({
      config: { SHOPIFY_WEBHOOK_SECRETS: [secret], RELAY_API_KEYS: ['ingest-key-1'] },
    });
    const all = Object.entries(signedHeaders);
    const untyped = Object.fromEntries(all.filter(([name]) => name !== 'content-type'));
    expect((await post(order, untyped)).status).toBe(200);
  });

  it('may come through a tunnel while the relay is on loopback without keys', async () => {
    const { server, post } = await startShop();
    const tunnel = { host: 'ada.ngrok.app', origin: 'https://ada.ngrok.app' };
    expect((await post(order, { ...signedHeaders, ...tunnel })).status).toBe(200);
    expect((await server.post('/v1/events', {}, tunnel)).status).toBe(403);
  });

  it('counts whichever of several secrets signed it, so that they can be rotated', async () => {
    const keys = ['newest-secret', secret, 'oldest-secret'];
    const { post } = await startShop({ config: { SHOPIFY_WEBHOOK_SECRETS: keys } });
    for (const key of keys) {
      const headers = await toHeaders(order, { topic: 'orders/create', key });
      expect((await post(order, headers)).status).toBe(200);
    }
    const other = await toHeaders(order, { topic: 'orders/create', key: keys.join(',') });
    expect((await post(order, other)).status).toBe(401);
  });

  it('has a signature over the sent bytes, whatever their spacing', async () => {
    const { post } = await startShop();
    const spaced = ` \r\n${JSON.stringify(anOrder(), null, 2)}\n`;
    const headers = await toHeaders(spaced, { topic: 'orders/create' });
    expect((await post(spaced, headers)).status).toBe(200);
    expect((await post(JSON.stringify(anOrder()), headers)).status).toBe(401);
  });

  it.each([
    ['not JSON', '{"id":', 'the body is not valid JSON: it ends early'],
    ['empty', '', 'the body is empty'],
  ])('is answered 400 if its body is %s', async (_what, body, detail) => {
    const { post, posts } = await startShop();
    const response = await post(body, await toHeaders(body, { topic: 'orders/create' }));
    expect([response.status, detailOf(response)]).toEqual([400, detail]);
    expect(posts).toEqual([]);
  });

  it.each([
    ['x-shopify-topic', 'the header X-Shopify-Topic is missing'],
    ['x-shopify-shop-domain', 'the header X-Shopify-Shop-Domain is missing'],
  ])('is answered 400 without %s', async (name, detail) => {
    const { post } = await startShop();
    const response = await post(order, { ...signedHeaders, [name]: '' });
    expect([response.status, detailOf(response)]).toEqual([400, detail]);
  });

  it('is answered with Retry-After on backpressure', async () => {
    const { post } = await startShop({
      answer: { kind: 'backpressure', reason: 'full', retryAfterMs: 1500 },
    });
    const response = await post(order, signedHeaders);
    expect([response.status, response.headers['retry-after']]).toEqual([503, '2']);
  });

  it.each([
    ['takes nothing', { backpressure: () => ({ reason: 'disk', retryAfterMs: 5000 }) as const }],
    ['drains', { isDraining: () => true }],
  ])('is answered with Retry-After while the relay %s', async (_what, state) => {
    const { post, posts } = await startShop(state);
    const response = await post(order, signedHeaders);
    expect(response.status).toBe(503);
    expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
    expect(posts).toEqual([]);
  });
});

describe('a request that Shopify did not sign, or that was changed since,', () => {
  const noMatch = 'no secret of SHOPIFY_WEBHOOK_SECRETS made this signature of the body';
  const missing = 'the header X-Shopify-Hmac-Sha256 is missing';

  it.each([
    ['by another secret', signed(byAnother), noMatch],
    ['by a blank secret', signed(byBlank), noMatch],
    ['for another body', signed(ofLonger), noMatch],
    ['in part', signed(signature.slice(0, -1)), noMatch],
    ['and more', signed(`${signature}=`), noMatch],
    ['twice', signed(`${signature}, ${signature}`), noMatch],
    ['in another case', signed(signature.toLowerCase()), noMatch],
    ['in hex', signed(Buffer.from(signature, 'base64').toString('hex')), noMatch],
    ['in the newer header alone', { ...signed('x'), 'shopify-hmac-sha256': signature }, noMatch],
    ['not at all', unsigned, missing],
    ['by an empty header', signed(''), missing],
  ])('signed %s is answered 401 without the correct signature', async (_how, headers, detail) => {
    const { post, posts, server } = await startShop();
    const response = await post(order, headers);
    expect([response.status, problemOf(response), detailOf(response)]).toEqual([
      401,
      'unauthorized',
      detail,
    ]);
    expect(response.headers['www-authenticate']).toContain('Shopify-Hmac-Sha256');
    expect(posts).toEqual([]);
    const found = response.text + JSON.stringify(server.logged);
    for (const hidden of [signature, secret, 'klaviyo-demo']) expect(found).not.toContain(hidden);
  });

  it('is rejected before its JSON is read', async () => {
    const { post } = await startShop();
    expect((await post('{"not json', signedHeaders)).status).toBe(401);
  });

  it('is rejected if any bit of the body was changed', async () => {
    const { post, server } = await startShop();
    // ASCII characters, so that the changed body is text.
    const body = Buffer.from(order);
    const places = fc.integer({ min: 0, max: order.indexOf('für') });
    await fc.assert(
      fc.asyncProperty(places, fc.integer({ min: 0, max: 6 }), async (at, bit) => {
        const changed = Buffer.from(body);
        changed[at] = (changed[at] ?? 0) ^ (1 << bit);
        expect((await post(changed, signedHeaders)).status).toBe(401);
        // An address may fail once a second.
        await server.clock.advance(1000);
      }),
    );
  });
});

describe('without SHOPIFY_WEBHOOK_SECRETS', () => {
  it('the route does not exist', async () => {
    const { post, server } = await startShop({ config: { SHOPIFY_WEBHOOK_SECRETS: [] } });
    const [response, unknown] = [
      await post(order, signedHeaders),
      await server.post('/v1/nothing', {}),
    ];
    expect([response.status, detailOf(response)]).toEqual([404, detailOf(unknown)]);
  });

  it('an empty secret verifies no request', async () => {
    const { post } = await startShop({ config: { SHOPIFY_WEBHOOK_SECRETS: [] } });
    const headers = await toHeaders(order, { topic: 'orders/create', key: ' ' });
    expect((await post(order, headers)).status).toBe(404);
  });
});

describe("Shopify's own library", () => {
  const theirs = (apiSecretKey: string) =>
    shopifyApi({
      apiKey: 'key',
      apiSecretKey,
      hostName: 'relay.example',
      apiVersion: ApiVersion.April26,
      isEmbeddedApp: false,
      logger: { level: LogSeverity.Error },
    });

  type Delivery = { readonly body: string; readonly headers: Readonly<Record<string, string>> };

  async function judge({ body, headers }: Delivery): Promise<boolean> {
    const { valid } = await theirs(secret).webhooks.validate({
      rawBody: body,
      rawRequest: { method: 'POST', url: '/', headers },
    });
    return valid;
  }

  it.each<[string, Delivery, boolean]>([
    ['a webhook', { body: order, headers: signedHeaders }, true],
    ['a webhook with the newer headers', { body: order, headers: newerHeaders }, true],
    ['a changed body', { body: order.replace('67.35', '67.36'), headers: signedHeaders }, false],
    ['another secret', { body: order, headers: signed(byAnother) }, false],
    ['an empty signature', { body: order, headers: signed('') }, false],
    ['a cut signature', { body: order, headers: signed(signature.slice(0, -1)) }, false],
    ['no topic', { body: order, headers: { ...signedHeaders, 'x-shopify-topic': '' } }, false],
    ['an empty body', { body: '', headers: signed(ofNothing) }, false],
  ])('has the same result as the relay for %s', async (_what, delivery, expected) => {
    const { post } = await startShop();
    const response = await post(delivery.body, delivery.headers);
    expect(response.status === 200).toBe(expected);
    expect(await judge(delivery)).toBe(expected);
  });
});

describe('whatever is in a signed body', () => {
  it('the relay does not fail', async () => {
    const { post } = await startShop();
    const topics = fc.constantFrom('orders/create', 'orders/fulfilled', 'refunds/create');
    const bodies = fc.oneof(fc.json(), fc.string({ unit: 'binary' }));
    await fc.assert(
      fc.asyncProperty(topics, bodies, async (topic, body) => {
        const { status } = await post(body, await toHeaders(body, { topic }));
        expect([200, 400]).toContain(status);
      }),
    );
  });
});
