import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/config.js';
import type {
  AcceptFromSource,
  AcceptedFromSource,
} from '../../../src/ingest/accept-from-source.js';
import { startServer, type TestResponse } from '../../http/harness.js';
import { aWooOrder, signWoo, toWooHeaders, wooPing, wooSecret } from '../../support/woocommerce.js';

const path = '/webhooks/woocommerce';
const taken: AcceptedFromSource = {
  kind: 'accepted',
  accepted: 2,
  duplicates: 0,
  waiting: 0,
  warnings: [],
  rejected: [],
  repeat: false,
};

async function startShop(secrets: readonly string[] = [wooSecret]) {
  const posts: Parameters<AcceptFromSource>[0][] = [];
  const server = await startServer({
    acceptFromSource: (post) => {
      posts.push(post);
      return Promise.resolve(taken);
    },
    config: { WOOCOMMERCE_WEBHOOK_SECRETS: [...secrets] },
  });
  const post = (body: string, headers: Readonly<Record<string, string>>) =>
    server.call('POST', path, { body, headers });
  return { server, posts, post };
}

const order = JSON.stringify(aWooOrder({ customer_note: 'für Ada ✓ https://x/y' }));
const detailOf = ({ json }: TestResponse): unknown => (json as { detail?: unknown }).detail;

describe('a webhook that WooCommerce signed', () => {
  it('is mapped, accepted, and answered 200', async () => {
    const { post, posts } = await startShop();
    const response = await post(order, toWooHeaders(order, 'order.created'));
    expect(response).toMatchObject({ status: 200, json: { accepted: 2, skipped: [] } });
    expect(posts).toMatchObject([
      {
        source: 'woocommerce',
        topic: 'order.created',
        entries: [{ entry: { event_name: 'Placed Order', value: 16.56 } }, {}],
      },
    ]);
  });

  it('is not a repetition of another of the same second with the same delivery id', async () => {
    const { post, posts } = await startShop();
    await post(order, toWooHeaders(order, 'order.created'));
    expect(posts[0]).not.toHaveProperty('delivery');
  });

  it('may have slashes that PHP escaped, because the signature covers the bytes', async () => {
    const { post } = await startShop();
    const escaped = order.replaceAll('/', '\\/');
    const response = await post(escaped, toWooHeaders(escaped, 'order.created'));
    expect(response.status).toBe(200);
  });

  it.each([
    ['of a topic that is not mapped', 'product.updated', '{"id":1}', 'unmapped'],
    ['of a custom action', 'action.my_hook', '{"action":"my_hook","arg":5}', 'unmapped'],
    ['that PHP could not encode', 'order.updated', '', 'no_payload'],
    ['of a deleted object', 'order.deleted', '{"id":727}', 'deleted'],
  ])('is answered 200 and counted as skipped: %s', async (_, topic, body, reason) => {
    const { post, posts } = await startShop();
    const response = await post(body, toWooHeaders(body, topic));
    expect(response).toMatchObject({ status: 200, json: { skipped: [reason] } });
    expect(posts).toMatchObject([{ entries: [], skipped: [{ reason }] }]);
  });

  it('may be sent over HTTP/1.0, as WordPress does', async () => {
    const { server } = await startShop();
    const headers = Object.entries(toWooHeaders(order, 'order.created'));
    const lines = headers.map(([name, value]) => `${name}: ${value}`).join('\r\n');
    const length = Buffer.byteLength(order);
    const response = await server.raw(
      `POST ${path} HTTP/1.0\r\nHost: localhost\r\n${lines}\r\nContent-Length: ${length}\r\n\r\n${order}`,
    );
    expect(response).toMatch(/^HTTP\/1\.[01] 200 /);
  });
});

describe('the ping of a new WooCommerce webhook', () => {
  it('is answered 200 without a signature, and counted as skipped', async () => {
    const { post, posts } = await startShop();
    const response = await post(wooPing.body, wooPing.headers);
    expect(response).toMatchObject({ status: 200, json: { skipped: ['ping'] } });
    expect(posts).toMatchObject([{ entries: [], people: [], skipped: [{ reason: 'ping' }] }]);
  });

  it('may be signed', async () => {
    const { post } = await startShop();
    const headers = { ...wooPing.headers, 'x-wc-webhook-signature': signWoo(wooPing.body) };
    expect((await post(wooPing.body, headers)).status).toBe(200);
  });

  it.each([
    ['another form', 'webhook_id=5&order=1'],
    ['an order', order],
    ['nothing', ''],
  ])('is the only unsigned request that is accepted: %s', async (_, body) => {
    const { post, posts } = await startShop();
    const response = await post(body, wooPing.headers);
    expect([response.status, posts]).toEqual([401, []]);
  });
});

describe('a request that WooCommerce did not sign', () => {
  const headers = toWooHeaders(order, 'order.created');
  it.each([
    ['no signature', { ...headers, 'x-wc-webhook-signature': '' }],
    ['a signature of something else', toWooHeaders(`${order} `, 'order.created')],
    ['a signature by another secret', toWooHeaders(order, 'order.created', 'another-secret')],
    ['no signature at all', { ...headers, 'x-wc-webhook-signature': 'yes' }],
  ])('is rejected if it has %s', async (_, wrong) => {
    const { post, posts } = await startShop();
    const response = await post(order, wrong);
    expect([response.status, posts]).toEqual([401, []]);
    expect(response.headers['www-authenticate']).toContain('X-WC-Webhook-Signature');
    expect(response.text).not.toContain('ada@');
  });

  it('is answered 404 if no secret is set', async () => {
    const { post } = await startShop([]);
    expect((await post(order, headers)).status).toBe(404);
    expect((await post(wooPing.body, wooPing.headers)).status).toBe(404);
  });

  it('is answered with the missing header once its signature is valid', async () => {
    const { post } = await startShop();
    const response = await post(order, { ...headers, 'x-wc-webhook-topic': '' });
    expect([response.status, detailOf(response)]).toEqual([
      400,
      'the header X-WC-Webhook-Topic is missing',
    ]);
  });
});

describe('WOOCOMMERCE_WEBHOOK_SECRETS', () => {
  const read = (text: string) =>
    loadConfig({ KLAVIYO_API_KEY: 'pk_test', WOOCOMMERCE_WEBHOOK_SECRETS: text })
      .WOOCOMMERCE_WEBHOOK_SECRETS;

  it('accepts a secret with commas, as WooCommerce generates it', () => {
    expect(read(wooSecret)).toEqual([wooSecret]);
  });

  it('is a list by lines, or by commas where each part can be a secret', () => {
    expect(read('first-secret\nsecond-secret\n')).toEqual(['first-secret', 'second-secret']);
    expect(read('first-secret, second-secret')).toEqual([
      'first-secret, second-secret',
      'first-secret',
      'second-secret',
    ]);
    expect(() => read('short')).toThrow('each secret must have at least 8 characters');
  });
});
