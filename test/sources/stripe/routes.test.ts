import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AcceptedFromSource } from '../../../src/ingest/accept-from-source.js';
import type { SourcePost } from '../../../src/ingest/source-entry.js';
import { stripeSecret, toStripeHeaders } from '../../support/stripe-delivery.js';
import { aCharge, anIntent, aStripeEvent } from '../../support/stripe-payloads.js';
import { adminKey, ingestKey, problemOf, startServer, type Overrides } from '../../http/harness.js';
import { acceptedOne } from '../../support/accepted-from-source.js';

const path = '/webhooks/stripe';
const aText = (overrides = {}) =>
  JSON.stringify(aStripeEvent('charge.succeeded', aCharge(), overrides));

/** A server with a secret, and the requests that it passed to the accept half. */
async function startStripe(overrides: Overrides = {}, response: AcceptedFromSource = acceptedOne) {
  const posts: SourcePost[] = [];
  const server = await startServer({
    acceptFromSource: (post) => {
      posts.push(post);
      return Promise.resolve(response);
    },
    ...overrides,
    config: { STRIPE_WEBHOOK_SECRETS: ['whsec_older_1', stripeSecret], ...overrides.config },
  });
  const deliver = (body: string | Buffer, headers: Record<string, string> = {}) => {
    const signed = toStripeHeaders(body.toString(), server.clock.now());
    return server.call('POST', path, { body, headers: { ...signed, ...headers } });
  };
  return { ...server, posts, deliver };
}

describe('POST /webhooks/stripe', () => {
  it('accepts a request that Stripe signed, without a key of the relay', async () => {
    const { deliver, posts } = await startStripe({
      config: { RELAY_API_KEYS: [ingestKey], RELAY_ADMIN_KEYS: [adminKey] },
    });
    const response = await deliver(aText());
    expect(response).toMatchObject({
      status: 200,
      json: { accepted: 1, duplicates: 0, dead_lettered: 0, skipped: [], repeat: false },
    });
    expect(posts).toMatchObject([{ topic: 'charge.succeeded', entries: [{ lane: 'events' }] }]);
  });

  it('answers with the counts of accepted entries', async () => {
    const errors = [{ pointer: '', detail: 'is odd' }];
    const rejected = [{ index: 0, code: 'not_valid', errors }];
    const { deliver } = await startStripe({}, { ...acceptedOne, accepted: 0, rejected });
    const response = await deliver(
      JSON.stringify(aStripeEvent('payment_intent.succeeded', anIntent())),
    );
    expect(response.json).toEqual({
      accepted: 0,
      duplicates: 0,
      waiting: 0,
      dead_lettered: 1,
      skipped: ['other_revenue_source'],
      warnings: [],
      repeat: false,
    });
  });

  it('reports a repeated delivery', async () => {
    const { deliver } = await startStripe({}, { ...acceptedOne, accepted: 0, repeat: true });
    expect((await deliver(aText({ type: 'x' }))).json).toMatchObject({ repeat: true, skipped: [] });
  });

  it('verifies the received bytes, whatever their form and encoding', async () => {
    const { deliver } = await startStripe();
    const text = JSON.stringify(
      aStripeEvent('charge.succeeded', aCharge({ description: 'é 😀' })),
      null,
      2,
    );
    expect((await deliver(`${text}\r\n`)).status).toBe(200);
    expect((await deliver(text, { 'content-type': 'text/plain' })).status).toBe(200);
  });

  it('accepts lists and metadata of any length and omits them', async () => {
    const { deliver, posts } = await startStripe({ config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const metadata = Object.fromEntries(Array.from({ length: 5001 }, (_, i) => [`k${i}`, 'v']));
    const charge = aCharge({ metadata, refunds: { data: Array<number>(90_000).fill(1) } });
    const unmapped = await deliver(JSON.stringify(aStripeEvent('charge.updated', charge)));
    expect(unmapped).toMatchObject({ status: 200, json: { skipped: ['unmapped'] } });
    const mapped = await deliver(JSON.stringify(aStripeEvent('charge.succeeded', charge)));
    expect(mapped).toMatchObject({ status: 200, json: { accepted: 1, skipped: ['too_long'] } });
    expect(posts[1]?.entries).toMatchObject([
      { entry: { event_name: 'Successfully Paid', value: 29.98 } },
    ]);
    expect(JSON.stringify(posts[1]?.entries)).not.toContain('Metadata');
  });

  it('reads integers beyond 2^53', async () => {
    const { deliver, posts } = await startStripe();
    const text = aText().replace('"amount_captured":2998', '"amount_captured":900719925474099300');
    await deliver(text);
    expect(JSON.stringify(posts[0]?.entries[0]?.entry.value)).toBe('"9007199254740993"');
  });

  it('maps according to the settings', async () => {
    const config = { STRIPE_REVENUE_SOURCE: 'payment_intent', STRIPE_TEST_EVENTS: true } as const;
    const { deliver, posts } = await startStripe({ config });
    const customer = { id: 'cus_1', object: 'customer', metadata: { shop_id: '42' } };
    const event = (key: string) =>
      JSON.stringify(
        aStripeEvent('payment_intent.succeeded', anIntent({ customer }), {
          id: key,
          livemode: false,
        }),
      );
    await deliver(event('a'));
    expect(posts[0]?.entries).toMatchObject([
      { entry: { value: 29.98 }, fallback: { distinct_id: 'cus_1' } },
    ]);
    const keyed = await startStripe({ config: { ...config, STRIPE_CUSTOMER_ID_KEY: 'shop_id' } });
    await keyed.deliver(event('b'));
    expect(keyed.posts[0]).toMatchObject({
      people: [{ key: 'id:customer:cus_1', person: { distinct_id: '42' } }],
      entries: [{ idKeys: [] }],
    });
    expect(keyed.posts[0]?.entries[0]?.personKeys).toContain('id:customer:cus_1');
  });

  it.each([
    ['is not JSON', '{"id":'],
    ['is empty', ''],
  ])('answers 400 if a signed body %s', async (_name, body) => {
    const { deliver, posts } = await startStripe();
    const response = await deliver(body);
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    expect(posts).toEqual([]);
  });

  it('accepts a payment with an unusual name in its metadata', async () => {
    const { deliver, posts } = await startStripe();
    const text = aText().replace(
      '"metadata":{}',
      '"metadata":{"constructor":"x","half":"\\ud800"}',
    );
    expect((await deliver(text)).status).toBe(200);
    expect(posts[0]?.entries[0]?.entry.properties).toMatchObject({ Metadata: { half: '\ufffd' } });
  });

  it('answers 413 above the size limit of a body', async () => {
    const { deliver } = await startStripe();
    expect((await deliver(aText({ more: 'x'.repeat(10_000) }))).status).toBe(413);
  });
});

describe('a delivery that is not authentic', () => {
  it.each([
    ['no signature', {}, 'the header Stripe-Signature is missing'],
    ['no readable one', { 'stripe-signature': 'v1=abc' }, 'Stripe-Signature has no timestamp: t=…'],
    [
      'a signature of another secret',
      toStripeHeaders(aText(), Date.UTC(2026, 0, 15, 12), 'whsec_unknown_1'),
      'no secret matches Stripe-Signature; is it the secret of this endpoint?',
    ],
    [
      'an old signature',
      toStripeHeaders(aText(), Date.UTC(2026, 0, 15, 11, 54, 59)),
      'Stripe-Signature is too old: more than 300 s (STRIPE_TOLERANCE_SECONDS)',
    ],
  ])('is answered 401 with the reason if it has %s', async (_name, headers, detail) => {
    const { call, posts, logged } = await startStripe();
    const response = await call('POST', path, { body: aText(), headers });
    expect(response).toMatchObject({
      status: 401,
      headers: { 'www-authenticate': 'Stripe-Signature' },
      json: { detail },
    });
    expect(posts).toEqual([]);
    expect(JSON.stringify([response, logged])).not.toContain(stripeSecret);
    expect(JSON.stringify(logged)).not.toContain('klaviyo-demo');
  });

  it('is recognised by the relay’s own clock', async () => {
    const { call, clock } = await startStripe({ config: { STRIPE_TOLERANCE_SECONDS: 60 } });
    const body = aText();
    const headers = toStripeHeaders(body, clock.now());
    clock.jump(60_000);
    expect((await call('POST', path, { body, headers })).status).toBe(200);
    clock.jump(1000);
    expect((await call('POST', path, { body, headers })).status).toBe(401);
  });
});

describe('POST /webhooks/stripe without intake', () => {
  it('answers 404 without a secret, like any unknown path', async () => {
    const { deliver, call, posts } = await startStripe({ config: { STRIPE_WEBHOOK_SECRETS: [] } });
    const unknown = await call('POST', '/webhooks/other');
    const response = await deliver(aText());
    expect(response.status).toBe(404);
    const instance: unknown = expect.any(String);
    expect(response.json).toEqual({ ...(unknown.json as object), instance });
    expect(posts).toEqual([]);
  });

  it('answers 503 before the body is read, so that Stripe retries', async () => {
    const backpressure = () => ({ reason: 'full', retryAfterMs: 1500 }) as const;
    const { raw, posts } = await startStripe({ backpressure: backpressure });
    const response = await raw(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\nConnection: close\r\n\r\n`,
    );
    expect(response).toMatch(/^HTTP\/1\.1 503 /);
    expect(response).toMatch(/retry-after: 2\r\n/i);
    expect(posts).toEqual([]);
  });

  it('answers 503 if the append meets backpressure', async () => {
    const { deliver } = await startStripe(
      {},
      { kind: 'backpressure', reason: 'full', retryAfterMs: 1 },
    );
    expect(await deliver(aText())).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
  });

  it('answers 503 and closes the connection while the relay stops', async () => {
    const { deliver } = await startStripe({ isDraining: () => true });
    const response = await deliver(aText());
    expect(response).toMatchObject({ status: 503, headers: { connection: 'close' } });
  });
});

describe('a webhook to a relay on loopback without keys', () => {
  it('is accepted through a tunnel with the Host of the tunnel, and other routes are not', async () => {
    const { deliver, call } = await startStripe();
    const headers = { host: 'shop.tunnel.example' };
    expect((await deliver(aText(), headers)).status).toBe(200);
    expect((await call('GET', '/livez', { headers })).status).toBe(403);
  });
});

it('for any signed body, the response is not a 5xx', async () => {
  const { deliver } = await startStripe({ logLevel: 'silent' });
  const anything = fc.oneof(
    fc.json({ stringUnit: 'binary' }),
    fc.jsonValue().map((object) => JSON.stringify(aStripeEvent('charge.succeeded', object))),
    fc.string({ unit: 'grapheme' }),
  );
  await fc.assert(
    fc.asyncProperty(anything, async (body) => {
      expect([200, 400]).toContain((await deliver(body)).status);
    }),
    { numRuns: 200 },
  );
});
