import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  const response = await relay.post(
    '/webhooks/stripe',
    payload,
    toStripeHeaders(payload, relay.clock.now()),
  );
  expect(response.status).toBe(200);
  return response.body;
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

/** All permutations of a list. */
const ordersOf = <T>(list: readonly T[]): T[][] =>
  list.length === 0
    ? [[]]
    : list.flatMap((first, at) =>
        ordersOf(list.filter((_, index) => index !== at)).map((rest) => [first, ...rest]),
      );

describe('a payment with four events, in any order and twice', () => {
  // The test posts 192 webhooks one after the other.
  it.each(sources)(
    'is recorded as revenue once, by its %s',
    { timeout: 60_000 },
    async (source) => {
      await start({ STRIPE_REVENUE_SOURCE: source });
      const orders = ordersOf(sources);
      expect(orders).toHaveLength(24);
      for (const [at, order] of orders.entries()) {
        // Each permutation is a separate payment.
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
      expect(isConserved((await relay.counts()).events)).toBe(true);
    },
  );
});

describe('a refund without a person', () => {
  const refund = aStripeEvent('refund.created', aRefund());
  const refunded = {
    metric: 'Refunded Payment',
    who: 'ada@klaviyo-demo.com',
    uniqueId: 're_1',
    value: 10,
    valueCurrency: 'USD',
  };

  it.each(sources.filter((source) => source !== 'payment_intent'))(
    'is recorded for the person of the %s of its payment',
    async (found) => {
      await start({ STRIPE_REVENUE_SOURCE: 'payment_intent' });
      await deliver(payment[found]);
      // Arrives later with fewer identifiers.
      await deliver(payment.payment_intent);
      await deliver(refund);
      await deliver(aStripeEvent('refund.updated', aRefund()));
      await relay.untilSettled();
      expect(recorded().filter(({ metric }) => metric === 'Refunded Payment')).toEqual([refunded]);
    },
  );

  it('waits if no request contained its payment, and only once if it is repeated', async () => {
    await start();
    expect(await deliver(refund)).toMatchObject({ accepted: 0, waiting: 1, dead_lettered: 0 });
    expect(await deliver(refund)).toMatchObject({ waiting: 0, repeat: true });
  });
});

it('a customer, a payment and its refund are one person', async () => {
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

/** Sum of the `value` of the events of a metric. */
const sumOf = (metric: string): number =>
  recorded().reduce((sum, each) => sum + (each.metric === metric ? (each.value ?? 0) : 0), 0);

describe('a charge that is captured in parts', () => {
  const guest = { customer: null, amount: 8000 };
  const authorised = aStripeEvent(
    'charge.succeeded',
    aCharge({ ...guest, amount_captured: 0, captured: false }),
  );
  /** If `before` is undefined, the webhook does not contain the previous sum. */
  const aCapture = (sum: number, before?: number, topic = 'charge.captured') => ({
    ...aStripeEvent(topic, aCharge({ ...guest, amount_captured: sum })),
    id: `evt_${topic}_${sum}`,
    data: {
      object: aCharge({ ...guest, amount_captured: sum }),
      ...(before !== undefined && { previous_attributes: { amount_captured: before } }),
    },
  });
  const sums = [3000, 5000, 8000];
  const inParts = sums.map((sum, at) => aCapture(sum, sums[at - 1] ?? 0, 'charge.updated'));
  const sumsAlone = sums.map((sum) => aCapture(sum));

  it.each([
    ['with the previous sums', inParts],
    ['without the previous sums', sumsAlone],
  ])('counts once in any order and twice, %s', { timeout: 30_000 }, async (_name, captures) => {
    for (const order of ordersOf(captures)) {
      await start();
      for (const event of [authorised, ...order, ...order]) await deliver(event);
      await relay.untilSettled();
      expect(sumOf('Successfully Paid')).toBe(80);
      await relay.stop();
    }
  });

  it.each([0, 1, 2])('counts in full if webhook %i is lost', async (lost) => {
    await start();
    // Stripe sends charge.captured at the end, whether or not the amount has grown.
    const others = [...inParts.filter((_, at) => at !== lost), aCapture(8000)];
    for (const event of others) await deliver(event);
    await relay.untilSettled();
    expect(sumOf('Successfully Paid')).toBe(80);
  });

  it('produces one event per capture, whichever topics report it', async () => {
    await start();
    for (const event of inParts) await deliver(event);
    await deliver(aCapture(8000, 5000));
    await relay.untilSettled();
    expect(recorded().map(({ uniqueId, value }) => [uniqueId, value])).toEqual([
      ['pi_1', 30],
      ['pi_1:5000', 20],
      ['pi_1:8000', 30],
    ]);
  });

  it('does not count for an update of another field', async () => {
    await start();
    const update = aCapture(8000, undefined, 'charge.updated');
    expect(await deliver(update)).toMatchObject({ accepted: 0, skipped: ['unmapped'] });
  });
});

describe('refunds of a charge', () => {
  const oldest = aRefund({ id: 're_1', amount: 1000 });
  const newest = aRefund({ id: 're_2', amount: 500 });
  const third = aRefund({ id: 're_3', amount: 500 });
  const aRefundedCharge = (sum: number, before: number, refunds?: readonly object[]) => {
    const object = aCharge({
      amount_refunded: sum,
      ...(refunds && { refunds: { object: 'list', data: refunds } }),
    });
    return {
      ...aStripeEvent('charge.refunded', object),
      id: `evt_refunded_${sum}_${before}`,
      data: { object, previous_attributes: { amount_refunded: before } },
    };
  };
  const named = [oldest, newest, third].map((refund) => ({
    ...aStripeEvent('refund.created', refund),
    id: `evt_${refund.id}`,
  }));
  const listed = [
    aRefundedCharge(1000, 0, [oldest]),
    aRefundedCharge(1500, 1000, [newest, oldest]),
    aRefundedCharge(2000, 1500, [third, newest, oldest]),
  ];
  const sums = [aRefundedCharge(1000, 0), aRefundedCharge(1500, 1000), aRefundedCharge(2000, 1500)];
  const mixed = (others: readonly object[]) => named.flatMap((each, at) => [others[at]!, each]);

  it.each([
    ['with its list of refunds', listed],
    ['with the sum of its refunds', sums],
    ['with its refunds, and the refunds by themselves', [...listed, ...named]],
    ['with their sum, and the refunds by themselves before', [...named, ...sums]],
    ['with their sum, and the refunds by themselves after', [...sums, ...named]],
    ['with their sum, and the refunds by themselves between', mixed(sums)],
    ['newest first', [...sums].reverse()],
    ['with its refunds, newest first', [...listed].reverse()],
    ['newest first, and the refunds by themselves', [...named, ...sums].reverse()],
  ])('count once from a charge %s', async (_name, events) => {
    await start();
    await deliver(payment.charge);
    for (const event of [...events, ...events]) await deliver(event);
    await relay.untilSettled();
    expect(sumOf('Refunded Payment')).toBe(20);
    expect(recorded().filter(({ metric }) => metric === 'Refunded Payment')).toHaveLength(3);
  });

  it('are reversed if they fail, and count again if they are repeated', async () => {
    await start();
    await deliver(payment.charge);
    await deliver(sums[0]!);
    const failed = { ...oldest, status: 'failed', failure_reason: 'expired_or_canceled_card' };
    await deliver(aStripeEvent('refund.failed', failed));
    await deliver({ ...aStripeEvent('refund.updated', failed) });
    await deliver({ ...aStripeEvent('charge.refund.updated', failed) });
    await deliver({ ...sums[0]!, id: 'evt_again' });
    await relay.untilSettled();
    expect(sumOf('Refunded Payment')).toBe(20);
    expect(recorded().filter(({ metric }) => metric === 'Failed Refund')).toEqual([
      {
        metric: 'Failed Refund',
        who: 'ada@klaviyo-demo.com',
        uniqueId: 're_1:failed',
        value: 10,
        valueCurrency: 'USD',
      },
    ]);
  });

  it('have no value if they fail before they count, and do not count later', async () => {
    await start();
    await deliver(payment.charge);
    await deliver(aStripeEvent('refund.failed', { ...oldest, status: 'failed' }));
    expect(await deliver(named[0]!)).toMatchObject({ accepted: 0, skipped: ['refund_failed'] });
    await relay.untilSettled();
    expect(sumOf('Failed Refund')).toBe(0);
    expect(sumOf('Refunded Payment')).toBe(0);
    expect(recorded().map(({ metric }) => metric)).toContain('Failed Refund');
  });

  it('count by another topic if the mapping file turns one off', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'stripe-mapping-')), 'mapping.json');
    await writeFile(file, JSON.stringify({ stripe: { topics: { 'charge.refunded': false } } }));
    await start({ MAPPING_FILE: file });
    await deliver(payment.charge);
    expect(await deliver(sums[0]!)).toMatchObject({ accepted: 0, skipped: ['topic_off'] });
    await deliver(named[0]!);
    await relay.untilSettled();
    expect(sumOf('Refunded Payment')).toBe(10);
  });

  it('of a payment that was only authorised have no value', async () => {
    await start();
    const open = { amount_captured: 0, captured: false };
    await deliver(aStripeEvent('charge.succeeded', aCharge(open)));
    const cancelled = aCharge({ ...open, amount_refunded: 2998, refunded: true });
    for (const event of [named[0]!, aStripeEvent('charge.refunded', cancelled)]) {
      expect(await deliver(event)).toMatchObject({ accepted: 0, skipped: ['not_captured'] });
    }
  });
});

describe('a customer whose cards are billed to another address', () => {
  const billed = aCharge({ billing_details: { email: 'b@klaviyo-demo.com' } });
  const refunded = aStripeEvent('refund.created', aRefund());
  const peopleAtKlaviyo = () =>
    relay.sandbox.state().profiles.map(({ attributes }) => ({
      email: attributes.email,
      external_id: attributes.external_id,
    }));

  it('keeps its own address, and the payment and its refund belong to the customer', async () => {
    await start();
    await deliver(aStripeEvent('customer.created', aCustomer({ phone: null })));
    await deliver(aStripeEvent('charge.succeeded', billed));
    await deliver(refunded);
    await relay.untilSettled();
    await relay.until('the profile is there', () => relay.sandbox.state().profiles.length > 0);
    expect(peopleAtKlaviyo()).toEqual([{ email: 'ada@klaviyo-demo.com', external_id: 'cus_1' }]);
    expect(recorded().map(({ who }) => who)).toEqual(Array(2).fill('ada@klaviyo-demo.com'));
  });

  it('is not merged with that address if the customer arrives later, and neither is the refund', async () => {
    await start();
    await deliver(aStripeEvent('charge.succeeded', billed));
    await deliver(aStripeEvent('customer.updated', aCustomer({ phone: null })));
    await deliver(refunded);
    await relay.untilSettled();
    await relay.until('both are there', () => relay.sandbox.state().profiles.length === 2);
    expect(peopleAtKlaviyo()).toEqual([
      { email: 'b@klaviyo-demo.com', external_id: undefined },
      { email: 'ada@klaviyo-demo.com', external_id: 'cus_1' },
    ]);
    expect(recorded().map(({ who }) => who)).toEqual(Array(2).fill('b@klaviyo-demo.com'));
  });
});

describe('a customer with two ids', () => {
  const session = aStripeEvent(
    'checkout.session.completed',
    aSession({ client_reference_id: 'user_9' }),
  );
  const idsSent = () =>
    relay.sandbox.state().profiles.map(({ attributes }) => attributes.external_id);

  it("keeps the shop's id of a checkout session, whatever arrives later", async () => {
    await start({ STRIPE_REVENUE_SOURCE: 'checkout' });
    const customer = aCustomer({ phone: null });
    await deliver(aStripeEvent('customer.created', customer));
    await deliver(session);
    await deliver(aStripeEvent('customer.updated', customer));
    await deliver(aStripeEvent('charge.failed', aCharge({ id: 'ch_2', payment_intent: 'pi_2' })));
    await deliver(aStripeEvent('invoice.finalized', anInvoice()));
    await relay.untilSettled();
    await relay.until('the id is there', () => idsSent()[0] === 'user_9');
    expect(idsSent()).toEqual(['user_9']);
  });

  it('uses the id of its metadata rather than the id of a session', async () => {
    await start({ STRIPE_REVENUE_SOURCE: 'checkout', STRIPE_CUSTOMER_ID_KEY: 'shop_id' });
    const customer = aCustomer({ phone: null, metadata: { shop_id: '42' } });
    await deliver(aStripeEvent('customer.created', customer));
    await deliver(session);
    await deliver(aStripeEvent('customer.updated', { ...customer, metadata: {} }));
    await relay.untilSettled();
    await relay.until('the profile is there', () => idsSent().length > 0);
    expect(idsSent()).toEqual(['42']);
  });
});

it('payments of test mode are not sent to Klaviyo', async () => {
  await start();
  const event = { ...payment.charge, livemode: false };
  expect(await deliver(event)).toMatchObject({ accepted: 0, skipped: ['test'] });
  const { body } = await relay.get('/metrics');
  expect(body.text).toContain('relay_source_skipped_total{source="stripe",reason="test"} 1');
});
