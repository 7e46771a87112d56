import type { SourceName } from '../../src/sources/list.js';
import type { SourceRequest } from '../../src/sources/source.js';
import { parseMapping } from '../../src/sources/mapping/mapping.js';
import { systems } from '../support/generic-webhooks.js';
import * as woo from '../support/woocommerce.js';
import * as shopify from '../support/shopify.js';
import * as stripe from '../support/stripe-payloads.js';

/** Requests of every source that the property tests change at random. */
export type Sample = {
  readonly source: SourceName;
  readonly request: Pick<SourceRequest, 'path' | 'headers' | 'body'>;
};

const ofShopify = (topic: string, body: unknown): Sample => ({
  source: 'shopify',
  request: {
    path: '/webhooks/shopify',
    headers: { 'x-shopify-topic': topic, 'x-shopify-shop-domain': shopify.shop },
    body,
  },
});

const ofStripe = (type: string, object: object): Sample => ({
  source: 'stripe',
  request: { path: '/webhooks/stripe', headers: {}, body: stripe.aStripeEvent(type, object) },
});

const ofSegment = (...calls: readonly object[]): Sample => ({
  source: 'segment',
  request: {
    path: '/v1/batch',
    headers: {},
    body: { batch: calls, sentAt: '2026-01-15T12:00:00Z' },
  },
});

const ofWoo = (topic: string, body: unknown): Sample => ({
  source: 'woocommerce',
  request: { path: '/webhooks/woocommerce', headers: { 'x-wc-webhook-topic': topic }, body },
});

const checked = parseMapping({
  generic: Object.fromEntries(
    Object.entries(systems).map(([name, { mapping }]) => [name, mapping]),
  ),
  shopify: { consent: { list: 'Y6nRLr', email: true, sms: true } },
  segment: { consent: { list: 'Y6nRLr', email: true, sms: true, groups: { newsletter: 'A' } } },
});
/** The mapping file for the samples: generic webhooks, and consents that are turned on. */
export const sampleMapping = checked.ok ? checked.value : {};

const products = [
  {
    product_id: 'p1',
    sku: 'S1',
    name: 'Cap',
    price: 35,
    quantity: 2,
    image_url: 'https://a/b.png',
  },
];

export const samples: readonly Sample[] = [
  ofShopify('orders/create', shopify.anOrder()),
  ofShopify('orders/updated', shopify.anOrder({ refunds: [shopify.aRefund()] })),
  ofShopify('orders/cancelled', shopify.anOrder({ cancelled_at: '2026-01-02T10:00:00Z' })),
  ofShopify('orders/fulfilled', shopify.anOrder({ fulfillments: [{ id: 1, status: 'success' }] })),
  ofShopify('orders/partially_fulfilled', shopify.anOrder({ fulfillments: [{ id: 2 }] })),
  ofShopify('orders/paid', shopify.anOrder()),
  ofShopify('refunds/create', shopify.aRefund()),
  ofShopify('fulfillments/update', shopify.aFulfilment({ shipment_status: 'delivered' })),
  ofShopify('fulfillment_events/create', shopify.aFulfilmentEvent()),
  ofShopify('checkouts/create', shopify.aCheckout()),
  ofShopify('checkouts/update', shopify.aCheckout()),
  ofShopify('customers/create', shopify.aCustomer()),
  ofShopify('customers/update', shopify.aCustomer()),
  ofShopify(
    'customers/update',
    shopify.aCustomer({
      email_marketing_consent: shopify.aConsent(),
      sms_marketing_consent: shopify.aConsent({ state: 'unsubscribed' }),
    }),
  ),
  ofShopify('customers_email_marketing_consent/update', shopify.anEmailConsent()),
  ofShopify('customers_marketing_consent/update', shopify.anSmsConsent()),
  ofShopify('customers/redact', { customer: { id: 42 } }),
  ofStripe('charge.succeeded', stripe.aCharge()),
  ofStripe('charge.captured', stripe.aCharge()),
  ofStripe('charge.refunded', stripe.aCharge({ amount_refunded: 1000 })),
  ofStripe('charge.failed', stripe.aCharge({ status: 'failed' })),
  ofStripe('charge.dispute.created', { id: 'dp_1', object: 'dispute', amount: 10, charge: 'ch_1' }),
  ofStripe('payment_intent.succeeded', stripe.anIntent()),
  ofStripe('checkout.session.completed', stripe.aSession()),
  ofStripe('checkout.session.completed', stripe.aSession({ consent: { promotions: 'opt_in' } })),
  ofStripe('checkout.session.expired', stripe.aSession()),
  ofStripe('invoice.paid', stripe.anInvoice()),
  ofStripe('invoice.payment_failed', stripe.anInvoice()),
  ofStripe('refund.created', stripe.aRefund()),
  ofStripe('refund.failed', stripe.aRefund({ status: 'failed' })),
  ofStripe('customer.updated', stripe.aCustomer()),
  ofStripe('customer.deleted', stripe.aCustomer()),
  ofSegment(
    {
      type: 'track',
      event: 'Order Completed',
      userId: '42',
      anonymousId: 'browser-1',
      messageId: 'm-1',
      timestamp: '2026-01-15T11:59:00.000Z',
      context: { traits: { email: 'ada@klaviyo-demo.com' } },
      properties: { order_id: 'o-1', revenue: '$1,019.00', total: 1025, currency: 'USD', products },
    },
    { type: 'track', event: 'Product Added', anonymousId: 'browser-1', properties: products[0] },
  ),
  ofSegment(
    {
      type: 'identify',
      userId: '42',
      anonymousId: 'browser-1',
      messageId: 'm-2',
      traits: { email: 'ada@klaviyo-demo.com', phone: '+12025550123', address: { city: 'Boston' } },
    },
    { type: 'page', name: 'Home', anonymousId: 'browser-1', properties: { url: 'https://a/' } },
    { type: 'screen', name: 'Cart', userId: '42' },
    { type: 'group', userId: '42', groupId: 'g-1', traits: { name: 'Acme' } },
    {
      type: 'group',
      userId: '42',
      groupId: 'newsletter',
      traits: { subscribe: true, consent: ['email', 'sms'] },
    },
    {
      type: 'identify',
      userId: '43',
      traits: { email: 'bo@klaviyo-demo.com', subscribe: false, listId: 'Y6nRLr' },
      context: { consent: { categoryPreferences: { marketing: false } } },
    },
    { type: 'alias', userId: '42', previousId: 'browser-1' },
  ),
  ofWoo('order.created', woo.aWooOrder()),
  ofWoo(
    'order.updated',
    woo.aWooOrder({ status: 'completed', refunds: [{ id: 1, total: '-5.00' }] }),
  ),
  ofWoo('order.updated', woo.aWooOrder({ status: 'cancelled', date_paid_gmt: null })),
  ofWoo('customer.updated', woo.aWooCustomer()),
  ...Object.entries(systems).map(([name, { payload }]): Sample => ({
    source: 'generic',
    request: { path: `/webhooks/generic/${name}`, headers: {}, body: payload },
  })),
];
