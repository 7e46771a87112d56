import { afterEach, describe, expect, it } from 'vitest';
import { isConserved, startRelay, type RelayUnderTest } from '../support/relay.js';
import { stripeSecret, toStripeHeaders } from '../support/stripe-delivery.js';
import {
  aCharge,
  aCustomer,
  anIntent,
  anInvoice,
  aRefund,
  aSession,
  aStripeEvent,
} from '../support/stripe-payloads.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const start = async (env: Record<string, string> = {}): Promise<void> => {
  relay = await startRelay({ env: { STRIPE_WEBHOOK_SECRETS: stripeSecret, ...env } });
};

const deliver = async (event: object) => {
  const payload = JSON.stringify(event);
  const answer = await relay.post(
    '/webhooks/stripe',
    payload,
    toStripeHeaders(payload, relay.clock.now()),
  );
  expect(answer.status).toBe(200);
  return answer.body;
};

const recorded = () =>
  relay.sandbox.state().events.map(({ metric, who, uniqueId, value, valueCurrency }) => ({
    metric,
    who,
    uniqueId,
    value,
    valueCurrency,
  }));

const payment = {
  charge: aStripeEvent('charge.succeeded', aCharge()),
  payment_intent: aStripeEvent('payment_intent.succeeded', anIntent()),
  checkout: aStripeEvent('checkout.session.completed', aSession()),
  invoice: aStripeEvent('invoice.paid', anInvoice()),
};
const sources = Object.keys(payment) as (keyof typeof payment)[];

/** All orders of a list. */
const ordersOf = <T>(list: readonly T[]): T[][] =>
  list.length === 0
    ? [[]]
    : list.flatMap((first, at) =>
        ordersOf(list.filter((_, index) => index !== at)).map((rest) => [first, ...rest]),
      );

describe('a payment that raises four events, in any order and twice', () => {
  // 192 deliveries, one after the other.
  it.each(sources)('is paid once, by its %s', { timeout: 60_000 }, async (source) => {
    await start({ STRIPE_REVENUE_SOURCE: source });
    const orders = ordersOf(sources);
    expect(orders).toHaveLength(24);
    for (const [at, order] of orders.entries()) {
      // Each order is a payment of its own.
      const events = order.map(
        (each) =>
          JSON.parse(
            JSON.stringify(payment[each]).replace(/"(evt|pi|ch|cs|in|cus)_\w[\w.]*"/g, (id) =>
              id.replace(/"$/, `_${at}"`),
            ),
          ) as object,
      );
      for (const event of [...events, ...events]) await deliver(event);
    }
    await relay.untilSettled();
    const paid = recorded();
    expect(paid.map(({ uniqueId }) => uniqueId).sort()).toEqual(
      orders.map((_, at) => `pi_1_${at}`).sort(),
    );
    for (const each of paid) {
      expect(each).toMatchObject({
        metric: 'Successfully Paid',
        value: 29.98,
        valueCurrency: 'USD',
      });
    }
    expect(isConserved((await relay.books()).events)).toBe(true);
  });
});

describe('a refund, which names nobody', () => {
  const refund = aStripeEvent('refund.created', aRefund());
  const refunded = {
    metric: 'Refunded Payment',
    who: 'ada@klaviyo-demo.com',
    uniqueId: 're_1',
    value: 10,
    valueCurrency: 'USD',
  };

  it.each(sources.filter((source) => source !== 'payment_intent'))(
    'is about whom the %s of its payment was about',
    async (told) => {
      await start({ STRIPE_REVENUE_SOURCE: 'payment_intent' });
      await deliver(payment[told]);
      // Comes after and knows less.
      await deliver(payment.payment_intent);
      await deliver(refund);
      await deliver(aStripeEvent('refund.updated', aRefund()));
      await relay.untilSettled();
      expect(recorded().filter(({ metric }) => metric === 'Refunded Payment')).toEqual([refunded]);
    },
  );

  it('becomes a dead letter where nobody told of its payment', async () => {
    await start();
    expect(await deliver(refund)).toMatchObject({ accepted: 0, dead_lettered: 1 });
    expect(await deliver(refund)).toMatchObject({ dead_lettered: 0, repeat: true });
  });
});

it('a customer, the payment and the refund are one person', async () => {
  await start({ STRIPE_REVENUE_SOURCE: 'payment_intent', STRIPE_CUSTOMER_ID_KEY: 'shop_id' });
  const customer = aCustomer({ metadata: { shop_id: '42' } });
  await deliver(aStripeEvent('customer.created', customer));
  await deliver(payment.payment_intent);
  await deliver(payment.charge);
  await deliver(aStripeEvent('refund.created', aRefund()));
  await relay.untilSettled();
  await relay.until('the profile is there', () => relay.sandbox.state().profiles.length > 0);
  const { profiles, events } = relay.sandbox.state();
  expect(profiles).toHaveLength(1);
  expect(profiles[0]?.attributes).toMatchObject({
    email: 'ada@klaviyo-demo.com',
    external_id: '42',
    first_name: 'Ada',
    location: { city: 'Boston' },
  });
  expect(new Set(events.map(({ profileId }) => profileId))).toEqual(new Set([profiles[0]?.id]));
  expect(events.map(({ metric }) => metric).sort()).toEqual([
    'Refunded Payment',
    'Successfully Paid',
  ]);
});

it('payments of test mode stay out of Klaviyo', async () => {
  await start();
  const event = { ...payment.charge, livemode: false };
  expect(await deliver(event)).toMatchObject({ accepted: 0, skipped: ['test'] });
  const { body } = await relay.get('/metrics');
  expect(body.text).toContain('relay_source_skipped_total{source="stripe",reason="test"} 1');
});
