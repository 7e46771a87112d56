import '@shopify/shopify-api/adapters/node';
import { createSHA256HMAC, HashFormat } from '@shopify/shopify-api/runtime';

/**
 * Shopify webhooks: payloads of the REST Admin API 2026-04 with the documented fields, and signatures
 * made by Shopify's own library.
 */

export const secret = 'shpss_0123456789abcdef';
export const shop = 'ada.myshopify.com';

type Members = Readonly<Record<string, unknown>>;

const shopMoney = (amount: string) => ({ shop_money: { amount, currency_code: 'EUR' } });

export const aLine = (overrides: Members = {}): Members => ({
  id: 501,
  product_id: 601,
  variant_id: 701,
  sku: 'SHIRT-S',
  title: 'Linen shirt',
  name: 'Linen shirt - S',
  variant_title: 'S',
  vendor: 'Acme',
  quantity: 3,
  price: '19.99',
  total_discount: '5.00',
  ...overrides,
});

export const anAddress = (overrides: Members = {}): Members => ({
  first_name: 'Ada',
  last_name: 'Lovelace',
  company: null,
  address1: '12 Main St',
  address2: null,
  city: 'Boston',
  province: 'Massachusetts',
  province_code: 'MA',
  country: 'United States',
  country_code: 'US',
  zip: '02110',
  phone: '(617) 555-1212',
  ...overrides,
});

export const anOrder = (overrides: Members = {}): Members => ({
  id: 1001,
  admin_graphql_api_id: 'gid://shopify/Order/1001',
  name: '#A1001',
  email: 'ada@klaviyo-demo.com',
  contact_email: 'ada@klaviyo-demo.com',
  phone: '+16175551212',
  customer: { id: 42, email: 'ada@klaviyo-demo.com', phone: null },
  billing_address: null,
  shipping_address: anAddress({ phone: null }),
  currency: 'EUR',
  presentment_currency: 'USD',
  total_price: '67.35',
  subtotal_price: '54.97',
  total_discounts: '5.00',
  total_tax: '7.38',
  total_shipping_price_set: shopMoney('5.10'),
  discount_codes: [{ code: 'WINTER', amount: '5.00', type: 'fixed_amount' }],
  line_items: [aLine()],
  source_name: 'web',
  customer_locale: 'en-US',
  test: false,
  cancel_reason: null,
  cancelled_at: null,
  fulfillments: [],
  processed_at: '2026-01-01T10:00:00-05:00',
  created_at: '2026-01-01T10:00:03-05:00',
  ...overrides,
});

export const aTransaction = (overrides: Members = {}): Members => ({
  id: 901,
  kind: 'refund',
  status: 'success',
  amount: '19.99',
  currency: 'EUR',
  test: false,
  ...overrides,
});

export const aRefund = (overrides: Members = {}): Members => ({
  id: 801,
  order_id: 1001,
  note: 'too small',
  created_at: '2026-01-05T09:00:00-05:00',
  processed_at: '2026-01-05T09:30:00-05:00',
  refund_line_items: [{ id: 1, quantity: 1, subtotal: 19.99, line_item: aLine() }],
  order_adjustments: [],
  transactions: [aTransaction()],
  ...overrides,
});

export const aCheckout = (overrides: Members = {}): Members => ({
  id: 2001,
  token: 'b1946ac92492d2347c6235b4d2611184',
  email: 'ada@klaviyo-demo.com',
  phone: null,
  sms_marketing_phone: null,
  customer: null,
  abandoned_checkout_url: 'https://ada.myshopify.com/checkouts/ac/b1946ac9/recover',
  currency: 'EUR',
  total_price: '65.07',
  total_discounts: '0.00',
  discount_codes: [],
  line_items: [aLine()],
  customer_locale: 'en-US',
  created_at: '2026-01-01T09:58:00-05:00',
  ...overrides,
});

export const aFulfilment = (overrides: Members = {}): Members => ({
  id: 31,
  order_id: 1001,
  status: 'success',
  name: '#A1001.1',
  email: 'ada@klaviyo-demo.com',
  shipment_status: null,
  tracking_company: 'UPS',
  tracking_number: '1Z2345',
  tracking_numbers: ['1Z2345'],
  tracking_url: 'https://www.ups.com/track?tracknum=1Z2345',
  tracking_urls: ['https://www.ups.com/track?tracknum=1Z2345'],
  destination: anAddress({ first_name: 'Ruth', phone: '+14155552671' }),
  line_items: [aLine()],
  created_at: '2026-01-02T08:00:00-05:00',
  updated_at: '2026-01-02T08:00:05-05:00',
  ...overrides,
});

export const aFulfilmentEvent = (overrides: Members = {}): Members => ({
  id: 41,
  fulfillment_id: 31,
  order_id: 1001,
  status: 'delivered',
  message: 'Left at the door',
  happened_at: '2026-01-04T11:00:00-05:00',
  created_at: '2026-01-04T11:02:00-05:00',
  estimated_delivery_at: null,
  ...overrides,
});

export const aCustomer = (overrides: Members = {}): Members => ({
  id: 42,
  email: 'ada@klaviyo-demo.com',
  phone: '+16175551212',
  first_name: 'Ada',
  last_name: 'Lovelace',
  default_address: anAddress({ company: 'Analytical Engines' }),
  tags: 'vip, wholesale',
  orders_count: 3,
  total_spent: '201.35',
  currency: 'EUR',
  ...overrides,
});

/** The member `email_marketing_consent` or `sms_marketing_consent` of a customer. */
export const aConsent = (overrides: Members = {}): Members => ({
  state: 'subscribed',
  opt_in_level: 'single_opt_in',
  consent_updated_at: '2026-01-02T09:30:00-05:00',
  ...overrides,
});

/** The payload of customers_email_marketing_consent/update. */
export const anEmailConsent = (consent: Members = {}, overrides: Members = {}): Members => ({
  customer_id: 42,
  email_address: 'ada@klaviyo-demo.com',
  email_marketing_consent: aConsent(consent),
  ...overrides,
});

/** The payload of customers_marketing_consent/update. */
export const anSmsConsent = (consent: Members = {}, overrides: Members = {}): Members => ({
  id: 42,
  phone: '+16175551212',
  sms_marketing_consent: { ...aConsent(consent), consent_collected_from: 'SHOPIFY' },
  ...overrides,
});

/** Signs a body with Shopify's own library. */
export function sign(body: string, key = secret): Promise<string> {
  return createSHA256HMAC(key, body, HashFormat.Base64);
}

type Webhook = { readonly topic: string; readonly id?: string; readonly key?: string };

/** The headers of a Shopify webhook. */
export async function toHeaders(body: string, { topic, id = 'wh-1', key }: Webhook) {
  return {
    'content-type': 'application/json',
    'x-shopify-hmac-sha256': await sign(body, key),
    'x-shopify-topic': topic,
    'x-shopify-shop-domain': shop,
    'x-shopify-api-version': '2026-04',
    'x-shopify-webhook-id': id,
  };
}
