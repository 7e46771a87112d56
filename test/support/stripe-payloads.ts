/** Stripe objects with the fields that the relay reads, in the form of API version 2025-03-31 and later. */

type Fields = Readonly<Record<string, unknown>>;

/** 2026-01-15T11:58:20Z; events are created ten seconds after what they describe. */
export const paidAt = 1_768_478_300;
export const raisedAt = paidAt + 10;

export const aStripeEvent = <T>(type: string, object: T, overrides: Fields = {}) => ({
  id: `evt_${type}`,
  object: 'event',
  api_version: '2025-03-31.basil',
  created: raisedAt,
  livemode: true,
  type,
  data: { object },
  ...overrides,
});

export const aCharge = (overrides: Fields = {}) => ({
  id: 'ch_1',
  object: 'charge',
  amount: 2998,
  amount_captured: 2998,
  amount_refunded: 0,
  billing_details: {
    address: { city: 'Boston', country: 'US', line1: null, postal_code: '02110' },
    email: 'ada@klaviyo-demo.com',
    name: 'Ada Lovelace',
    phone: null,
  },
  captured: true,
  created: paidAt,
  currency: 'usd',
  customer: 'cus_1',
  description: null,
  failure_code: null,
  failure_message: null,
  livemode: true,
  metadata: {},
  outcome: { network_status: 'approved_by_network', seller_message: 'Payment complete.' },
  paid: true,
  payment_intent: 'pi_1',
  payment_method_details: { type: 'card', card: { brand: 'visa', last4: '4242' } },
  receipt_email: null,
  receipt_url: 'https://pay.stripe.com/receipts/1',
  status: 'succeeded',
  ...overrides,
});

export const anIntent = (overrides: Fields = {}) => ({
  id: 'pi_1',
  object: 'payment_intent',
  amount: 2998,
  amount_received: 2998,
  created: paidAt - 3600,
  currency: 'usd',
  customer: 'cus_1',
  description: null,
  latest_charge: 'ch_1',
  livemode: true,
  metadata: {},
  receipt_email: null,
  status: 'succeeded',
  ...overrides,
});

export const aSession = (overrides: Fields = {}) => ({
  id: 'cs_1',
  object: 'checkout.session',
  amount_subtotal: 2500,
  amount_total: 2998,
  after_expiration: null,
  client_reference_id: null,
  created: paidAt - 600,
  currency: 'usd',
  customer: 'cus_1',
  customer_details: { email: 'ada@klaviyo-demo.com', name: 'Ada Lovelace', phone: null },
  customer_email: null,
  expires_at: paidAt + 86_400,
  invoice: null,
  livemode: true,
  metadata: {},
  mode: 'payment',
  payment_intent: 'pi_1',
  payment_status: 'paid',
  status: 'complete',
  total_details: { amount_discount: 0, amount_shipping: 300, amount_tax: 198 },
  ...overrides,
});

export const anInvoice = (overrides: Fields = {}) => ({
  id: 'in_1',
  object: 'invoice',
  amount_due: 2998,
  amount_paid: 2998,
  attempt_count: 1,
  billing_reason: 'subscription_cycle',
  created: paidAt - 7200,
  currency: 'usd',
  customer: 'cus_1',
  customer_email: 'ada@klaviyo-demo.com',
  customer_phone: null,
  due_date: null,
  hosted_invoice_url: 'https://invoice.stripe.com/i/1',
  lines: { object: 'list', data: [{ description: '1 × Pro', quantity: 1, amount: 2998 }] },
  livemode: true,
  metadata: {},
  number: 'A-0001',
  payments: {
    object: 'list',
    data: [{ payment: { type: 'payment_intent', payment_intent: 'pi_1' } }],
  },
  status_transitions: { finalized_at: paidAt - 7000, paid_at: paidAt },
  ...overrides,
});

export const aRefund = (overrides: Fields = {}) => ({
  id: 're_1',
  object: 'refund',
  amount: 1000,
  charge: 'ch_1',
  created: paidAt + 7200,
  currency: 'usd',
  metadata: {},
  payment_intent: 'pi_1',
  reason: 'requested_by_customer',
  status: 'succeeded',
  ...overrides,
});

export const aCustomer = (overrides: Fields = {}) => ({
  id: 'cus_1',
  object: 'customer',
  address: {
    city: 'Boston',
    country: 'US',
    line1: '125 Summer St',
    line2: 'Floor 6',
    postal_code: '02110',
    state: 'MA',
  },
  created: paidAt,
  email: 'ada@klaviyo-demo.com',
  livemode: true,
  metadata: {},
  name: 'Ada Lovelace',
  phone: '+16175550100',
  preferred_locales: ['en-US'],
  shipping: null,
  ...overrides,
});
