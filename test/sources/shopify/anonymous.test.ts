import { expect, it } from 'vitest';
import { toJson } from '../../ingest/fixture.js';
import { aFulfilmentEvent, anOrder, aRefund, shop } from '../../support/shopify.js';
import { createPipeline } from '../pipeline.js';

const nobody = {
  email: '',
  contact_email: null,
  phone: null,
  customer: null,
  shipping_address: null,
};
const buyer = { email: 'ada@klaviyo-demo.com' };

function openShop() {
  const pipeline = createPipeline();
  const send = async (topic: string, body: unknown) => {
    const headers = { 'x-shopify-topic': topic, 'x-shopify-shop-domain': shop };
    const accepted = await pipeline.send('shopify', { headers, body });
    return accepted?.kind === 'accepted' ? accepted : expect.fail('it was not taken');
  };
  const skips = () =>
    pipeline
      .activity()
      .filter(({ outcome }) => outcome === 'skipped')
      .map(({ kind, reason, count, example }) => [kind, reason, count, example]);
  const metrics = () =>
    pipeline.drafts.map(({ payload }) => {
      const [, metric] = /"metric":.*?"name":"([^"]+)"/.exec(JSON.stringify(toJson(payload))) ?? [];
      return metric;
    });
  return { send, skips, metrics };
}

it('a refund and a shipment of an order without a buyer are skipped like the order', async () => {
  const { send, skips, metrics } = openShop();
  await send('orders/create', anOrder(nobody));
  await send('refunds/create', aRefund());
  await send('fulfillment_events/create', aFulfilmentEvent());
  expect(metrics()).toEqual([]);
  expect(skips()).toEqual([
    ['fulfillment_events/create', 'anonymous', 1, null],
    ['orders/create', 'anonymous', 1, null],
    ['refunds/create', 'anonymous', 1, '801'],
  ]);
});

it('an order without a buyer is recorded for the first buyer that an update names, and not for a second one', async () => {
  const { send, metrics } = openShop();
  await send('orders/create', anOrder(nobody));
  expect(await send('orders/updated', anOrder(nobody))).toMatchObject({ accepted: 0 });
  const named = anOrder({ ...nobody, ...buyer });
  expect(await send('orders/updated', named)).toMatchObject({ accepted: 2 });
  // The store knows that these two are repeats; the one of this test takes everything.
  expect(await send('orders/updated', named)).toMatchObject({ accepted: 2 });
  const other = anOrder({ ...nobody, email: 'ben@klaviyo-demo.com' });
  expect(await send('orders/updated', other)).toMatchObject({ accepted: 0 });
  expect(await send('refunds/create', aRefund())).toMatchObject({ accepted: 1 });
  expect(metrics()).toEqual([
    'Placed Order',
    'Ordered Product',
    'Placed Order',
    'Ordered Product',
    'Refunded Order',
  ]);
});

it('an update of an order that had a buyer, or of an unknown order, gives no revenue', async () => {
  const { send, metrics } = openShop();
  await send('orders/updated', anOrder());
  expect(metrics()).toEqual([]);
  await send('orders/create', anOrder());
  await send('orders/updated', anOrder({ email: 'ben@klaviyo-demo.com' }));
  await send('orders/updated', anOrder(nobody));
  await send('orders/updated', anOrder());
  expect(metrics().filter((metric) => metric === 'Placed Order')).toHaveLength(1);
});

it('a test order without a buyer changes no ledger', async () => {
  const { send, metrics } = openShop();
  await send('orders/create', anOrder({ ...nobody, test: true }));
  await send('orders/updated', anOrder({ ...nobody, ...buyer }));
  expect(metrics()).toEqual([]);
});
