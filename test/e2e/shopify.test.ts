import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import {
  aCheckout,
  aCustomer,
  aFulfilment,
  aFulfilmentEvent,
  anAddress,
  anOrder,
  aRefund,
  aTransaction,
  secret,
  shop,
  toHeaders,
} from '../support/shopify.js';

let relay: RelayUnderTest;
beforeEach(async () => {
  relay = await startRelay({ env: { SHOPIFY_WEBHOOK_SECRETS: secret } });
});
afterEach(() => relay.stop());

async function restart(env: Record<string, string>): Promise<void> {
  await relay.stop();
  relay = await startRelay({ env: { SHOPIFY_WEBHOOK_SECRETS: secret, ...env } });
}

let sent = 0;

async function deliver(topic: string, payload: unknown, id = `wh-${++sent}`) {
  const body = JSON.stringify(payload);
  const response = await relay.post(
    '/webhooks/shopify',
    body,
    await toHeaders(body, { topic, id }),
  );
  expect(response.status).toBe(200);
  return response.body;
}

const redrive = async () =>
  (await relay.post('/v1/dead-letters/redrive', JSON.stringify({ filter: {} }))).body;

/** Sorted by metric, because requests of a lane may overtake each other. */
const recorded = () =>
  relay.sandbox
    .state()
    .events.map(({ metric, uniqueId, value, who }) => ({ metric, uniqueId, value, who }))
    .sort((one, other) => one.metric.localeCompare(other.metric));

const who = 'ada@klaviyo-demo.com';
const refundedOrder = { metric: 'Refunded Order', uniqueId: 'shopify:801', value: 19.99, who };

describe("a shop's webhooks", () => {
  it('are recorded by Klaviyo as events and profiles of one person', async () => {
    const fulfillments = [{ id: 31, status: 'success', created_at: '2026-01-02T08:00:00-05:00' }];
    const cancelled = { cancelled_at: '2026-01-03T08:00:00-05:00', cancel_reason: 'customer' };
    await deliver('customers/create', aCustomer());
    await deliver('checkouts/create', aCheckout());
    await deliver('orders/create', anOrder());
    await deliver('orders/partially_fulfilled', anOrder({ fulfillments }));
    await deliver('orders/fulfilled', anOrder({ fulfillments }));
    await deliver('orders/cancelled', anOrder(cancelled));
    await deliver('refunds/create', aRefund());
    await relay.untilSettled();
    const ofOrder = { uniqueId: 'shopify:1001', value: 67.35, who };
    expect(recorded()).toEqual([
      { ...ofOrder, metric: 'Cancelled Order' },
      {
        metric: 'Checkout Started',
        uniqueId: 'shopify:b1946ac92492d2347c6235b4d2611184',
        value: 65.07,
        who,
      },
      { ...ofOrder, metric: 'Fulfilled Order' },
      { ...ofOrder, metric: 'Fulfilled Partial Order', uniqueId: 'shopify:1001:31' },
      { metric: 'Ordered Product', uniqueId: 'shopify:1001:501', value: 59.97, who },
      { ...ofOrder, metric: 'Placed Order' },
      refundedOrder,
    ]);
    expect(relay.sandbox.state().profiles.map(({ attributes }) => attributes)).toMatchObject([
      {
        email: who,
        external_id: '42',
        first_name: 'Ada',
        properties: { 'Shopify Tags': ['vip', 'wholesale'] },
      },
    ]);
    const logged = relay.logged.join('');
    for (const hidden of [who, secret, 'Lovelace', shop]) expect(logged).not.toContain(hidden);
  });

  it('count once, whether a delivery is repeated or the order is sent again', async () => {
    const first = {
      accepted: 2,
      duplicates: 0,
      waiting: 0,
      dead_lettered: 0,
      skipped: [],
      warnings: [],
      repeat: false,
    };
    expect(await deliver('orders/create', anOrder(), 'wh-a')).toEqual(first);
    const repeated = {
      accepted: 0,
      duplicates: 0,
      waiting: 0,
      dead_lettered: 0,
      skipped: [],
      warnings: [],
      repeat: true,
    };
    expect(await deliver('orders/create', anOrder(), 'wh-a')).toEqual(repeated);
    const anew = {
      accepted: 0,
      duplicates: 2,
      waiting: 0,
      dead_lettered: 0,
      skipped: [],
      warnings: [],
      repeat: false,
    };
    expect(await deliver('orders/create', anOrder(), 'wh-b')).toEqual(anew);
    await relay.untilSettled();
    expect(relay.sandbox.state().counters).toMatchObject({ recorded: 2, repeats: 0 });
  });
});

describe('a refund', () => {
  it('is recorded for the buyer of the order', async () => {
    await deliver('orders/create', anOrder());
    expect(await deliver('refunds/create', aRefund())).toMatchObject({ accepted: 1 });
    await relay.untilSettled();
    expect(recorded()).toContainEqual(refundedOrder);
  });

  it('that arrives before its order waits, and is sent once the order has arrived', async () => {
    expect(await deliver('refunds/create', aRefund())).toMatchObject({
      accepted: 0,
      waiting: 1,
      dead_lettered: 0,
    });
    await relay.clock.advance(60_000);
    expect(recorded()).toEqual([]);
    expect((await relay.get('/v1/dead-letters')).body.data).toEqual([]);
    await deliver('orders/create', anOrder());
    await relay.until('the refund is recorded', () => recorded().length === 3);
    expect(recorded()).toContainEqual(refundedOrder);
  });

  it('that arrived before its order is sent by a redrive if waiting is off', async () => {
    await restart({ WAITING_MAX_AGE: '0' });
    await deliver('refunds/create', aRefund());
    expect(await redrive()).toEqual({ matched: 1, redriven: 0, dry_run: false });
    await deliver('orders/create', anOrder());
    expect(await redrive()).toEqual({ matched: 1, redriven: 1, dry_run: false });
    expect(await redrive()).toEqual({ matched: 0, redriven: 0, dry_run: false });
    await relay.untilSettled();
    expect(recorded()).toContainEqual(refundedOrder);
  });

  it('that arrives before its order becomes a dead letter at once if waiting is off, and can be reingested', async () => {
    await restart({ WAITING_MAX_AGE: '0' });
    expect(await deliver('refunds/create', aRefund())).toMatchObject({
      accepted: 0,
      dead_lettered: 1,
    });
    await deliver('orders/create', anOrder());
    await relay.untilSettled();
    expect(recorded().map(({ metric }) => metric)).toEqual(['Ordered Product', 'Placed Order']);
    const { data } = (await relay.get('/v1/dead-letters')).body;
    expect(data).toMatchObject([
      {
        lane: 'events',
        reason: { code: 'unknown_person' },
        payload: {
          source: 'shopify',
          personKeys: [`order:${shop}:1001`],
          entry: { event_name: 'Refunded Order', insert_id: 'shopify:801', value: 19.99 },
        },
      },
    ]);
  });
});

describe('a refund whose payment is pending', () => {
  const pending = { transactions: [aTransaction({ status: 'pending' })] };

  it('is recorded only once, after an update of the order reports its success', async () => {
    await deliver('orders/create', anOrder());
    expect(await deliver('refunds/create', aRefund(pending))).toMatchObject({
      accepted: 0,
      skipped: ['pending'],
    });
    expect(await deliver('orders/updated', anOrder({ refunds: [aRefund(pending)] }))).toMatchObject(
      { accepted: 0, skipped: ['pending'] },
    );
    const succeeded = anOrder({ refunds: [aRefund()] });
    expect(await deliver('orders/updated', succeeded)).toMatchObject({ accepted: 1 });
    expect(await deliver('orders/updated', succeeded)).toMatchObject({ duplicates: 1 });
    await relay.untilSettled();
    expect(recorded().filter(({ metric }) => metric === 'Refunded Order')).toEqual([refundedOrder]);
    const { data } = (await relay.get('/v1/sources')).body;
    expect(data).toContainEqual(
      expect.objectContaining({
        kind: 'refunds/create',
        outcome: 'skipped',
        reason: 'pending',
        example: '801',
      }),
    );
  });

  it('is recorded once if both topics report its success', async () => {
    await deliver('orders/create', anOrder());
    await deliver('orders/updated', anOrder({ refunds: [aRefund()] }));
    expect(await deliver('refunds/create', aRefund())).toMatchObject({ duplicates: 1 });
    await relay.untilSettled();
    expect(recorded().filter(({ metric }) => metric === 'Refunded Order')).toEqual([refundedOrder]);
  });

  it('is not recorded if it fails', async () => {
    const failed = { transactions: [aTransaction({ status: 'failure' })] };
    await deliver('refunds/create', aRefund(pending));
    expect(await deliver('orders/updated', anOrder({ refunds: [aRefund(failed)] }))).toMatchObject({
      accepted: 0,
      skipped: ['failed'],
    });
  });
});

describe('the customers of a shop', () => {
  const people = () =>
    relay.sandbox
      .state()
      .profiles.map(({ attributes: { email, external_id, phone_number } }) => ({
        email,
        external_id,
        phone_number,
      }))
      .sort((one, other) => String(one.email).localeCompare(String(other.email)));

  it('who give presents are not merged with the recipients', async () => {
    const ruth = { email: 'ruth@klaviyo-demo.com', phone_number: '+14155552671' };
    await deliver(
      'customers/create',
      aCustomer({ id: 43, email: ruth.email, phone: '+14155552671' }),
    );
    const present = { phone: null, shipping_address: anAddress({ phone: '(415) 555-2671' }) };
    await deliver('orders/create', anOrder(present));
    await relay.untilSettled();
    expect(people()).toEqual([
      { email: who, external_id: '42', phone_number: undefined },
      { ...ruth, external_id: '43' },
    ]);
  });

  it('who buy with one point-of-sale account are not merged', async () => {
    const customer = { id: 42, email: 'till@klaviyo-demo.com' };
    const [ada, ben] = ['ada@klaviyo-demo.com', 'ben@klaviyo-demo.com'];
    await deliver('orders/create', anOrder({ email: ada, phone: null, customer }));
    await deliver('orders/create', anOrder({ id: 1002, email: ben, phone: null, customer }));
    await relay.untilSettled();
    expect(people()).toEqual([
      { email: ada, external_id: undefined, phone_number: undefined },
      { email: ben, external_id: undefined, phone_number: undefined },
    ]);
  });
});

it('a checkout is recorded once, when its email address arrives', async () => {
  expect(await deliver('checkouts/create', aCheckout({ email: null }))).toMatchObject({
    accepted: 0,
    skipped: ['anonymous'],
  });
  expect(await deliver('checkouts/update', aCheckout())).toMatchObject({ accepted: 1 });
  const later = aCheckout({ total_price: '70.00' });
  expect(await deliver('checkouts/update', later)).toMatchObject({ duplicates: 1 });
  await relay.untilSettled();
  expect(recorded()).toMatchObject([{ metric: 'Checkout Started', value: 65.07, who }]);
});

it('the revenue of an order is recorded once, whichever topics arrive and in any order', async () => {
  const order = anOrder({ updated_at: '2026-01-01T10:05:00-05:00' });
  const edit = { order_edit: { id: 7, order_id: 1001, line_items: { additions: [] } } };
  await deliver('orders/paid', order);
  await deliver('draft_orders/create', {
    id: 77,
    order_id: null,
    total_price: '67.35',
    email: who,
  });
  await deliver('orders/create', order);
  await deliver('draft_orders/update', { id: 77, order_id: 1001, status: 'completed', email: who });
  await deliver('orders/edited', edit);
  await deliver('orders/updated', { ...order, total_price: '80.00' });
  await deliver('orders/create', { ...order, total_price: '80.00' });
  await relay.untilSettled();
  expect(recorded().map(({ metric, value }) => [metric, value])).toEqual([
    ['Ordered Product', 59.97],
    ['Placed Order', 67.35],
  ]);
});

it('a shipment is recorded once per status, for the buyer of the order', async () => {
  await deliver('orders/create', anOrder());
  await deliver('fulfillments/create', aFulfilment());
  await deliver('fulfillments/update', aFulfilment({ shipment_status: 'out_for_delivery' }));
  await deliver('fulfillment_events/create', aFulfilmentEvent());
  const delivered = aFulfilment({ shipment_status: 'delivered' });
  expect(await deliver('fulfillments/update', delivered)).toMatchObject({ duplicates: 1 });
  await relay.untilSettled();
  const ofShipment = { uniqueId: 'shopify:1001:31', who };
  expect(recorded().filter(({ uniqueId }) => uniqueId === 'shopify:1001:31')).toMatchObject([
    { ...ofShipment, metric: 'Delivered Shipment' },
    { ...ofShipment, metric: 'Marked Out for Delivery' },
  ]);
});

it('events of a shop have the names of the mapping file, also after they waited', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'mapping-'));
  const path = join(directory, 'mapping.yaml');
  writeFileSync(
    path,
    `shopify:
  metrics: { Placed Order: Order Placed, Ordered Product: false, Refunded Order: Placed Order }
  properties: { rename: { OrderId: order_number } }
`,
  );
  await restart({ MAPPING_FILE: path });
  rmSync(directory, { recursive: true });
  await deliver('refunds/create', aRefund());
  await deliver('orders/create', anOrder());
  await relay.until('the refund is recorded', () => recorded().length === 2);
  expect(recorded().map(({ metric }) => metric)).toEqual(['Order Placed', 'Placed Order']);
});

describe('a webhook that is posted by hand', () => {
  /** As in docs/guides/shopify.md. */
  const byHand = String.raw`
body='{"id":1001,"email":"ada@klaviyo-demo.com","currency":"EUR","total_price":"19.99"}'
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$SHOPIFY_SECRET" -binary | openssl base64 -A)
curl -sS "$RELAY_URL/webhooks/shopify" --data-binary "$body" \
  -H "X-Shopify-Hmac-Sha256: $signature" -H 'X-Shopify-Topic: orders/create' \
  -H 'X-Shopify-Shop-Domain: ada.myshopify.com' -H 'X-Shopify-Webhook-Id: by-hand-1'
`;

  it('is the one that the guide shows', () => {
    expect(readFileSync('docs/guides/shopify.md', 'utf8')).toContain(byHand);
  });

  const areThere = ['openssl', 'curl'].every(
    (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0,
  );

  it.runIf(areThere)('is signed by openssl as Shopify signs it', async () => {
    const env = { ...process.env, SHOPIFY_SECRET: secret, RELAY_URL: relay.app.url };
    const { stdout } = await promisify(execFile)('sh', ['-eu', '-c', byHand], { env });
    expect(JSON.parse(stdout)).toMatchObject({ accepted: 1 });
    await relay.untilSettled();
    expect(recorded()).toEqual([
      { metric: 'Placed Order', uniqueId: 'shopify:1001', value: 19.99, who },
    ]);
  });
});
