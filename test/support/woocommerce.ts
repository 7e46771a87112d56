import { createHmac } from 'node:crypto';

/**
 * WooCommerce webhooks: payloads of the REST API v3 with the fields that the relay reads, and headers
 * and signatures as WC_Webhook::deliver() creates them.
 */

/** As wp_generate_password(50, true, true) makes them: with commas, spaces and quotes. */
export const wooSecret = `x7,V{q"<k2!,Zt 9&pL'4m~Ue|R5w^,b?Yc;H8$n.D6-s=A3*f`;
export const wooShop = 'https://shop.klaviyo-demo.com/';

type Members = Readonly<Record<string, unknown>>;

export const aWooLine = (overrides: Members = {}): Members => ({
  id: 315,
  name: 'Woo Single #1',
  product_id: 93,
  variation_id: 0,
  quantity: 2,
  tax_class: '',
  subtotal: '6.00',
  subtotal_tax: '0.45',
  total: '5.40',
  total_tax: '0.41',
  sku: 'WOO-1',
  price: 2.7,
  image: { id: '7', src: 'https://shop.klaviyo-demo.com/woo-1.jpg' },
  parent_name: null,
  meta_data: [],
  ...overrides,
});

export const aBilling = (overrides: Members = {}): Members => ({
  first_name: 'Ada',
  last_name: 'Lovelace',
  company: '',
  address_1: '12 Main St',
  address_2: '',
  city: 'Boston',
  state: 'MA',
  postcode: '02110',
  country: 'US',
  email: 'ada@klaviyo-demo.com',
  phone: '(617) 555-1212',
  ...overrides,
});

export const aWooOrder = (overrides: Members = {}): Members => ({
  id: 727,
  parent_id: 0,
  number: '727',
  order_key: 'wc_order_58d2d042d1d',
  created_via: 'checkout',
  status: 'processing',
  currency: 'EUR',
  prices_include_tax: false,
  date_created: '2026-01-05T10:00:02',
  date_created_gmt: '2026-01-05T15:00:02',
  date_modified: '2026-01-05T10:05:08',
  date_modified_gmt: '2026-01-05T15:05:08',
  date_paid: '2026-01-05T10:05:08',
  date_paid_gmt: '2026-01-05T15:05:08',
  date_completed: null,
  date_completed_gmt: null,
  discount_total: '0.60',
  shipping_total: '10.00',
  shipping_tax: '0.75',
  total: '16.56',
  total_tax: '1.16',
  customer_id: 26,
  customer_note: '',
  billing: aBilling(),
  shipping: { ...aBilling({ first_name: 'Charles', phone: '(617) 555-3434' }), email: undefined },
  payment_method: 'stripe',
  payment_method_title: 'Card',
  line_items: [aWooLine()],
  coupon_lines: [{ id: 5, code: 'winter', discount: '0.60' }],
  fee_lines: [],
  refunds: [],
  meta_data: [],
  _links: { self: [{ href: 'https://shop.klaviyo-demo.com/wp-json/wc/v3/orders/727' }] },
  ...overrides,
});

export const aWooCustomer = (overrides: Members = {}): Members => ({
  id: 26,
  date_created: '2026-01-01T09:00:00',
  date_created_gmt: '2026-01-01T14:00:00',
  email: 'ada@klaviyo-demo.com',
  first_name: 'Ada',
  last_name: 'Lovelace',
  role: 'customer',
  username: 'ada.lovelace',
  billing: aBilling({ company: 'Analytical Engines' }),
  shipping: aBilling(),
  is_paying_customer: true,
  avatar_url: 'https://secure.gravatar.com/avatar/8eb1b522f60d11fa897de1dc6351b7e8?s=96',
  meta_data: [
    { id: 1, key: 'loyalty_tier', value: 'gold' },
    { id: 2, key: '_session_token', value: 'do-not-send' },
  ],
  _links: { self: [{ href: 'https://shop.klaviyo-demo.com/wp-json/wc/v3/customers/26' }] },
  ...overrides,
});

export function signWoo(body: string, secret = wooSecret): string {
  return createHmac('sha256', secret).update(body).digest('base64');
}

/** The headers of a WooCommerce webhook. */
export function toWooHeaders(body: string, topic: string, secret?: string) {
  const [resource = '', event = ''] = topic.split('.');
  return {
    'content-type': 'application/json',
    'user-agent': 'WooCommerce/10.3.6 Hookshot (WordPress/6.9)',
    'x-wc-webhook-source': wooShop,
    'x-wc-webhook-topic': topic,
    'x-wc-webhook-resource': resource,
    'x-wc-webhook-event': event,
    'x-wc-webhook-signature': signWoo(body, secret),
    'x-wc-webhook-id': '5',
    // Built from the webhook's id and the second: two deliveries in one second have the same id.
    'x-wc-webhook-delivery-id': '039f3155b209b1c591c26f60004d889f',
  };
}

/** WC_Webhook::deliver_ping(): a form, and nothing else. */
export const wooPing = {
  body: 'webhook_id=5',
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
} as const;
