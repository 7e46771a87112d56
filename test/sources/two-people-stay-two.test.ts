import fc from 'fast-check';
import { expect, it } from 'vitest';
import { z } from 'zod';
import type { Draft } from '../../src/model/envelope.js';
import { toJson } from '../ingest/fixture.js';
import * as shopify from '../support/shopify.js';
import * as stripe from '../support/stripe-payloads.js';
import * as woo from '../support/woocommerce.js';
import { createPipeline } from './pipeline.js';
import type { Sample } from './samples.js';

/** A person with unique identifiers. */
type Human = {
  readonly number: number;
  readonly email: string;
  /** The phone number that the customer gave to the shop. */
  readonly phone: string;
  /** The id of the account in Shopify and WooCommerce. */
  readonly shopId: number;
  readonly stripeId: string;
  readonly userId: string;
};

const humans: readonly Human[] = [0, 1, 2, 3].map((number) => ({
  number,
  email: `human${number}@klaviyo-demo.com`,
  phone: `+1202555010${number}`,
  shopId: 7000 + number,
  stripeId: `cus_${number}`,
  userId: `user-${number}`,
}));

const human = fc.constantFrom(...humans);
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const id = fc.integer({ min: 1, max: 12 });

const ofShopify = (topic: string, body: unknown): Sample => ({
  source: 'shopify',
  request: {
    path: '/webhooks/shopify',
    headers: { 'x-shopify-topic': topic, 'x-shopify-shop-domain': shopify.shop },
    body,
  },
});

const addressOf = (other: Human | null) =>
  other && shopify.anAddress({ phone: other.phone, country_code: 'US' });

/** An order of one person, possibly under a point-of-sale account or a colleague's account, shipped to another person. */
const shopifyOrder = fc
  .record({
    order: id,
    buyer: human,
    customer: maybe(human),
    recipient: maybe(human),
    payer: maybe(human),
    ownPhone: fc.boolean(),
    topic: fc.constantFrom(
      'orders/create',
      'orders/updated',
      'orders/cancelled',
      'orders/fulfilled',
    ),
  })
  .map(({ order, buyer, customer, recipient, payer, ownPhone, topic }) =>
    ofShopify(
      topic,
      shopify.anOrder({
        // The buyer of an order does not change.
        id: 5000 + 10 * order + buyer.number,
        email: buyer.email,
        contact_email: buyer.email,
        phone: ownPhone ? buyer.phone : null,
        customer: customer && { id: customer.shopId, email: customer.email },
        billing_address: addressOf(payer),
        shipping_address: addressOf(recipient),
      }),
    ),
  );

const shopifyCheckout = fc
  .record({ checkout: id, buyer: human, recipient: maybe(human), customer: maybe(human) })
  .map(({ checkout, buyer, recipient, customer }) =>
    ofShopify(
      'checkouts/update',
      shopify.aCheckout({
        token: `token-${checkout}-${buyer.number}`,
        email: buyer.email,
        customer: customer && { id: customer.shopId, email: customer.email },
        shipping_address: addressOf(recipient),
      }),
    ),
  );

const shopifyCustomer = fc
  .record({ customer: human, recipient: maybe(human), hasPhone: fc.boolean() })
  .map(({ customer, recipient, hasPhone }) =>
    ofShopify(
      'customers/update',
      shopify.aCustomer({
        id: customer.shopId,
        email: customer.email,
        phone: hasPhone ? customer.phone : null,
        default_address: addressOf(recipient),
      }),
    ),
  );

const shopifyRefund = fc
  .record({ order: id, buyer: human })
  .map(({ order, buyer }) =>
    ofShopify('refunds/create', shopify.aRefund({ order_id: 5000 + 10 * order + buyer.number })),
  );

const ofStripe = (type: string, object: object): Sample => ({
  source: 'stripe',
  request: { path: '/webhooks/stripe', headers: {}, body: stripe.aStripeEvent(type, object) },
});

/** A payment of a customer with the card of another person. */
const stripeCharge = fc
  .record({
    charge: id,
    customer: human,
    payer: human,
    isGuest: fc.boolean(),
    topic: fc.constantFrom('charge.succeeded', 'charge.failed', 'charge.refunded'),
  })
  .map(({ charge, customer, payer, isGuest, topic }) => {
    const place = `${charge}_${customer.number}_${payer.number}_${isGuest}`;
    const billing = { email: payer.email, phone: null, name: null, address: null };
    return ofStripe(
      topic,
      stripe.aCharge({
        id: `ch_${place}`,
        payment_intent: `pi_${place}`,
        amount_refunded: topic === 'charge.refunded' ? 100 : 0,
        customer: isGuest ? null : customer.stripeId,
        billing_details: billing,
      }),
    );
  });

const stripeRefund = fc
  .record({ charge: id, customer: human, payer: human, isGuest: fc.boolean() })
  .map(({ charge, customer, payer, isGuest }) => {
    const place = `${charge}_${customer.number}_${payer.number}_${isGuest}`;
    return ofStripe(
      'refund.created',
      stripe.aRefund({ id: `re_${place}`, charge: `ch_${place}`, payment_intent: `pi_${place}` }),
    );
  });

const stripeCustomer = human.map((customer) =>
  ofStripe(
    'customer.updated',
    stripe.aCustomer({
      id: customer.stripeId,
      email: customer.email,
      phone: customer.phone,
      metadata: {},
    }),
  ),
);

const ofWoo = (topic: string, body: unknown): Sample => ({
  source: 'woocommerce',
  request: {
    path: '/webhooks/woocommerce',
    headers: { 'x-wc-webhook-topic': topic, 'x-wc-webhook-source': woo.wooShop },
    body,
  },
});

/** An order billed to one person, possibly under the account of another, shipped to a third. */
const wooOrder = fc
  .record({
    order: id,
    buyer: human,
    account: maybe(human),
    recipient: human,
    hasPhone: fc.boolean(),
  })
  .map(({ order, buyer, account, recipient, hasPhone }) =>
    ofWoo(
      'order.updated',
      woo.aWooOrder({
        id: 5000 + 10 * order + buyer.number,
        customer_id: account === null ? 0 : account.shopId,
        billing: woo.aBilling({ email: buyer.email, phone: hasPhone ? buyer.phone : '' }),
        shipping: woo.aBilling({ email: undefined, phone: recipient.phone }),
      }),
    ),
  );

const wooCustomer = fc.record({ customer: human, payer: human }).map(({ customer, payer }) =>
  ofWoo(
    'customer.updated',
    woo.aWooCustomer({
      id: customer.shopId,
      email: customer.email,
      billing: woo.aBilling({ email: payer.email, phone: payer.phone }),
    }),
  ),
);

const ofSegment = (call: object): Sample => ({
  source: 'segment',
  request: { path: '/v1/batch', headers: {}, body: { batch: [call] } },
});

const device = fc.constantFrom('browser-1', 'browser-2');

const segmentIdentify = fc
  .record({ user: human, anonymousId: maybe(device), hasPhone: fc.boolean() })
  .map(({ user, anonymousId, hasPhone }) =>
    ofSegment({
      type: 'identify',
      userId: user.userId,
      anonymousId,
      traits: { email: user.email, ...(hasPhone && { phone: user.phone }) },
    }),
  );

/** An action of a user, possibly on a shared computer, and possibly about another person. */
const segmentTrack = fc
  .record({
    user: maybe(human),
    other: maybe(human),
    anonymousId: maybe(device),
    withTraits: fc.boolean(),
    event: fc.constantFrom('Invite Sent', 'Order Completed', 'Gift Card Bought'),
  })
  .map(({ user, other, anonymousId, withTraits, event }) =>
    ofSegment({
      type: 'track',
      event,
      ...(user && { userId: user.userId }),
      anonymousId: user === null ? 'browser-1' : anonymousId,
      // Without a user, the address in the properties is the only identifier (see the guide).
      properties: user === null ? {} : { email: other?.email, phone: other?.phone },
      ...(user && withTraits && { context: { traits: { email: user.email } } }),
    }),
  );

const sample = fc.oneof(
  shopifyOrder,
  shopifyCheckout,
  shopifyCustomer,
  shopifyRefund,
  stripeCharge,
  stripeRefund,
  stripeCustomer,
  wooOrder,
  wooCustomer,
  segmentIdentify,
  segmentTrack,
);

/** Every user was identified before; the guide explains an address in the properties of an unknown user. */
const identified = humans.map((user) =>
  ofSegment({ type: 'identify', userId: user.userId, traits: { email: user.email } }),
);

const identifiers = z.object({
  email: z.string().optional(),
  phone_number: z.string().optional(),
  external_id: z.string().optional(),
  anonymous_id: z.string().optional(),
});

const eventShape = z.object({
  attributes: z.object({ profile: z.object({ data: z.object({ attributes: identifiers }) }) }),
});
const profileShape = z.object({ attributes: identifiers });

/** The identifiers that Klaviyo merges because of one event or profile. */
function toJoined({ lane, payload }: Draft): readonly string[] {
  const json = toJson(payload);
  const attributes =
    lane === 'events'
      ? eventShape.parse(json).attributes.profile.data.attributes
      : profileShape.parse(json).attributes;
  return Object.entries(attributes)
    .filter(([name]) => Object.hasOwn(identifiers.shape, name))
    .map(([name, value]) => `${name} ${String(value)}`);
}

/** The groups of identifiers that Klaviyo holds as one person after all of these. */
function toGroups(drafts: readonly Draft[]): readonly ReadonlySet<string>[] {
  let groups: ReadonlySet<string>[] = [];
  for (const draft of drafts) {
    if (draft.deadLetterReason !== undefined) continue;
    const joined = toJoined(draft);
    const touched = groups.filter((group) => joined.some((each) => group.has(each)));
    const merged = new Set([...joined, ...touched.flatMap((group) => [...group])]);
    groups = [...groups.filter((group) => !touched.includes(group)), merged];
  }
  return groups;
}

function toOwners(group: ReadonlySet<string>): readonly number[] {
  const isOf = ({ email, phone, shopId, stripeId, userId }: Human): boolean =>
    [email, phone, String(shopId), stripeId, userId].some((own) =>
      [...group].some((each) => each.endsWith(` ${own}`)),
    );
  return humans.filter(isOf).map(({ number }) => number);
}

it('two people who share no identifier in the requests of a source share no profile at Klaviyo', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(sample, { minLength: 1, maxLength: 25 }), async (sent) => {
      const pipeline = createPipeline();
      for (const { source, request } of [...identified, ...sent]) {
        await pipeline.send(source, request);
      }
      for (const group of toGroups(pipeline.drafts)) {
        expect([...group, toOwners(group).length].slice(-1), [...group].join(', ')).toEqual([
          Math.min(1, toOwners(group).length),
        ]);
      }
    }),
    { numRuns: 300 },
  );
});
