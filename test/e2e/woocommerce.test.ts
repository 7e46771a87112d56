import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import {
  aBilling,
  aWooCustomer,
  aWooOrder,
  toWooHeaders,
  wooPing,
  wooSecret,
} from '../support/woocommerce.js';

let relay: RelayUnderTest;
beforeEach(async () => {
  relay = await startRelay({ env: { WOOCOMMERCE_WEBHOOK_SECRETS: wooSecret } });
});
afterEach(() => relay.stop());

async function deliver(topic: string, payload: unknown) {
  const body = JSON.stringify(payload);
  const response = await relay.post('/webhooks/woocommerce', body, toWooHeaders(body, topic));
  expect(response.status).toBe(200);
  return response.body;
}

const recorded = () =>
  relay.sandbox
    .state()
    .events.map(({ metric, value, who }) => [metric, value, who])
    .sort();

const unpaid = { status: 'pending', date_paid: null, date_paid_gmt: null };
const who = 'ada@klaviyo-demo.com';

describe("a WooCommerce shop's webhooks", () => {
  it('produce one event of each kind for an order, however often they are repeated', async () => {
    expect((await relay.post('/webhooks/woocommerce', wooPing.body, wooPing.headers)).status).toBe(
      200,
    );
    const refunds = [{ id: 801, reason: '', total: '-6.00' }];
    expect(await deliver('order.created', aWooOrder(unpaid))).toMatchObject({
      skipped: ['not_placed'],
    });
    await deliver('customer.created', aWooCustomer());
    const states = [
      aWooOrder({ ...unpaid, status: 'checkout-draft' }),
      aWooOrder({ status: 'completed', date_completed_gmt: '2026-01-06T08:00:00' }),
      aWooOrder(),
      aWooOrder({ status: 'completed', date_completed_gmt: '2026-01-06T08:00:00', refunds }),
      aWooOrder({ status: 'refunded', refunds: [...refunds, { id: 802, total: '-10.56' }] }),
    ];
    for (const state of states) await deliver('order.updated', state);
    await deliver('order.created', aWooOrder());
    await relay.untilSettled();
    expect(recorded()).toEqual([
      ['Fulfilled Order', 16.56, who],
      ['Ordered Product', 6, who],
      ['Placed Order', 16.56, who],
      ['Refunded Order', 10.56, who],
      ['Refunded Order', 6, who],
    ]);
    const logged = relay.logged.join('');
    for (const hidden of [who, wooSecret, 'Lovelace']) expect(logged).not.toContain(hidden);
  });

  it('never merge two buyers who order with one account', async () => {
    await deliver('customer.created', aWooCustomer());
    const bob = aBilling({ email: 'bob@klaviyo-demo.com', phone: '' });
    await deliver('order.updated', aWooOrder());
    await deliver(
      'order.updated',
      aWooOrder({ id: 728, order_key: 'wc_order_b', billing: bob, line_items: [] }),
    );
    await relay.untilSettled();
    expect(recorded().map(([metric, , whose]) => [metric, whose])).toEqual(
      [
        ['Ordered Product', who],
        ['Placed Order', who],
        ['Placed Order', 'bob@klaviyo-demo.com'],
      ].sort(),
    );
  });

  it('are recorded for the account if an order has no billing address', async () => {
    await deliver('customer.created', aWooCustomer());
    await deliver('order.updated', aWooOrder({ billing: aBilling({ email: '', phone: '' }) }));
    await relay.untilSettled();
    expect(recorded()).toEqual([
      ['Ordered Product', 6, who],
      ['Placed Order', 16.56, who],
    ]);
  });
});
