import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SourcePost } from '../../../src/ingest/source-entry.js';
import { draftSourceEntry } from '../../../src/ingest/draft-source-entry.js';
import { mapStripeEvent, type StripeRules } from '../../../src/sources/stripe/map.js';
import { parseJson, stringifyJson, type JsonObject } from '../../../src/json/json.js';
import {
  aCharge,
  aCustomer,
  anIntent,
  anInvoice,
  aRefund,
  aSession,
  aStripeEvent,
} from '../../support/stripe-payloads.js';
import { receivedAt } from '../../ingest/fixture.js';
import { newestRules } from '../../support/revisions.js';

const rules: StripeRules = { revenueSource: 'charge', takesTestEvents: false };
const by = (revenueSource: StripeRules['revenueSource']): StripeRules => ({
  ...rules,
  revenueSource,
});
const withKey: StripeRules = { ...rules, customerIdKey: 'shop_id' };

/** The result without facts of earlier requests. */
const resolve = ({ ledger, ...post }: SourcePost): SourcePost => {
  const { entries = [], skipped = [] } = ledger?.resolve(null) ?? {};
  return {
    ...post,
    entries: [...post.entries, ...entries],
    skipped: [...post.skipped, ...skipped],
  };
};
const map = (topic: string, object: unknown, given = rules, overrides = {}) =>
  resolve(mapStripeEvent(aStripeEvent(topic, object, overrides), given));

/** The only entry, with its person if no earlier request identified one. */
const entryOf = (topic: string, object: unknown, given = rules): JsonObject => {
  const { entries } = map(topic, object, given);
  expect(entries).toHaveLength(1);
  return { ...entries[0]!.fallback, ...entries[0]!.entry };
};
const propertiesOf = (topic: string, object: unknown, given = rules) =>
  entryOf(topic, object, given).properties as Record<string, unknown>;
const peopleOf = (topic: string, object: unknown, given = rules, overrides = {}) =>
  Object.fromEntries(
    map(topic, object, given, overrides).people.map(({ key, person, fallback }) => [
      key,
      { ...fallback, ...person },
    ]),
  );

const payer = { email: 'ada@klaviyo-demo.com' };
const ada = { email: 'ada@klaviyo-demo.com', distinct_id: 'cus_1' };
const paid = { event_name: 'Successfully Paid', insert_id: 'pi_1', value: 29.98, currency: 'USD' };
const paidTime = '2026-01-15T11:58:20.000Z';
const raisedTime = '2026-01-15T11:58:30.000Z';

const payments = [
  ['charge', 'charge.succeeded', aCharge()],
  ['payment_intent', 'payment_intent.succeeded', anIntent()],
  ['checkout', 'checkout.session.completed', aSession()],
  ['invoice', 'invoice.paid', anInvoice()],
] as const;

describe('a payment', () => {
  it('is mapped from a charge', () => {
    expect(map('charge.succeeded', aCharge({ description: 'Order 7' }))).toMatchObject({
      source: 'stripe',
      topic: 'charge.succeeded',
      delivery: 'evt_charge.succeeded',
      entries: [{ lane: 'events', index: 0 }],
      skipped: [],
    });
    expect(entryOf('charge.succeeded', aCharge({ metadata: { order: '7', gift: '' } }))).toEqual({
      ...payer,
      ...paid,
      event_time: paidTime,
      properties: {
        Charge: 'ch_1',
        Customer: 'cus_1',
        Metadata: { order: '7' },
        PaymentIntent: 'pi_1',
        PaymentMethod: 'card',
        ReceiptUrl: 'https://pay.stripe.com/receipts/1',
      },
    });
  });

  it('is mapped from a payment intent, at the time of the event', () => {
    expect(entryOf('payment_intent.succeeded', anIntent(), by('payment_intent'))).toEqual({
      ...paid,
      distinct_id: 'cus_1',
      event_time: raisedTime,
      properties: { Charge: 'ch_1', Customer: 'cus_1', PaymentIntent: 'pi_1' },
    });
  });

  it('is mapped from a checkout session', () => {
    expect(entryOf('checkout.session.completed', aSession(), by('checkout'))).toEqual({
      ...ada,
      ...paid,
      event_time: raisedTime,
      properties: {
        CheckoutSession: 'cs_1',
        Customer: 'cus_1',
        Discount: 0,
        Mode: 'payment',
        PaymentIntent: 'pi_1',
        Shipping: 3,
        Subtotal: 25,
        Tax: 1.98,
      },
    });
  });

  it('is mapped from an invoice, at the time it was paid', () => {
    expect(entryOf('invoice.paid', anInvoice(), by('invoice'))).toEqual({
      ...ada,
      ...paid,
      event_time: paidTime,
      properties: {
        BillingReason: 'subscription_cycle',
        Customer: 'cus_1',
        HostedInvoiceUrl: 'https://invoice.stripe.com/i/1',
        Invoice: 'in_1',
        Items: [{ Description: '1 × Pro', Quantity: 1, Amount: 29.98 }],
        Number: 'A-0001',
        PaymentIntent: 'pi_1',
      },
    });
  });

  it.each(payments)('counts once, by its %s', (source, topic, object) => {
    for (const [other] of payments) {
      const { entries, skipped } = map(topic, object, by(other));
      expect(entries.map(({ entry }) => entry.insert_id)).toEqual(other === source ? ['pi_1'] : []);
      expect(skipped).toEqual(other === source ? [] : [{ reason: 'other_revenue_source' }]);
    }
  });

  it('is not counted from invoice.payment_succeeded', () => {
    for (const [source] of payments) {
      expect(map('invoice.payment_succeeded', aCharge(), by(source)).skipped).toMatchObject([
        { reason: 'other_revenue_source' },
      ]);
    }
  });

  const ids: [string, string, object, StripeRules, string][] = [
    ['its charge', 'charge.succeeded', aCharge({ payment_intent: null }), rules, 'ch_1'],
    [
      'an expanded intent',
      'charge.succeeded',
      aCharge({ payment_intent: anIntent() }),
      rules,
      'pi_1',
    ],
    ['its invoice', 'invoice.paid', anInvoice({ payments: undefined }), by('invoice'), 'in_1'],
    [
      'the charge of an invoice of an older API version',
      'invoice.paid',
      anInvoice({ payments: undefined, charge: 'ch_1' }),
      by('invoice'),
      'ch_1',
    ],
    [
      'the intent of an invoice of an older API version',
      'invoice.paid',
      anInvoice({ payments: undefined, charge: 'ch_1', payment_intent: 'pi_1' }),
      by('invoice'),
      'pi_1',
    ],
    [
      'the invoice of a subscription that was bought',
      'checkout.session.completed',
      aSession({ payment_intent: null, invoice: 'in_1', mode: 'subscription' }),
      by('checkout'),
      'in_1',
    ],
    [
      'its session, if there is no other id',
      'checkout.session.completed',
      aSession({ payment_intent: null }),
      by('checkout'),
      'cs_1',
    ],
    [
      'its event, if it has no id',
      'charge.succeeded',
      aCharge({ id: null, payment_intent: 7 }),
      rules,
      'evt_charge.succeeded',
    ],
    [
      'its charge, if an id is too long',
      'charge.succeeded',
      aCharge({ payment_intent: 'p'.repeat(256) }),
      rules,
      'ch_1',
    ],
  ];
  it.each(ids)('has the id of %s', (_name, topic, object, given, id) => {
    expect(entryOf(topic, object, given).insert_id).toBe(id);
  });

  const none: [string, string, object, StripeRules][] = [
    ['a charge of nothing', 'charge.succeeded', aCharge({ amount: 0, amount_captured: 0 }), rules],
    [
      'a charge without an amount',
      'charge.succeeded',
      aCharge({ amount: null, amount_captured: null }),
      rules,
    ],
    [
      'a charge that is only authorised',
      'charge.succeeded',
      aCharge({ captured: false, amount_captured: 0 }),
      rules,
    ],
    [
      'an authorised charge without further fields',
      'charge.succeeded',
      aCharge({ captured: false, amount_captured: undefined }),
      rules,
    ],
    [
      'a session that waits for a bank',
      'checkout.session.completed',
      aSession({ payment_status: 'unpaid' }),
      by('checkout'),
    ],
    [
      'a session with nothing to pay',
      'checkout.session.completed',
      aSession({ payment_status: 'no_payment_required' }),
      by('checkout'),
    ],
    ['a free trial', 'checkout.session.completed', aSession({ amount_total: 0 }), by('checkout')],
    ['an invoice of nothing', 'invoice.paid', anInvoice({ amount_paid: 0 }), by('invoice')],
    [
      'an invoice of less than nothing',
      'invoice.paid',
      anInvoice({ amount_paid: -5 }),
      by('invoice'),
    ],
    [
      'an intent that received nothing',
      'payment_intent.succeeded',
      anIntent({ amount_received: 0 }),
      by('payment_intent'),
    ],
  ];
  it.each(none)('is not %s', (_name, topic, object, given) => {
    expect(map(topic, object, given)).toMatchObject({
      entries: [],
      skipped: [{ reason: 'no_amount' }],
    });
  });

  it('is recorded when an authorised charge is captured, with the captured amount', () => {
    const charge = aCharge({ amount_captured: 2000 });
    const entry = entryOf('charge.captured', charge);
    expect(entry).toMatchObject({ insert_id: 'pi_1', value: 20, event_time: raisedTime });
    expect(map('charge.captured', charge, by('invoice')).skipped).toMatchObject([
      { reason: 'other_revenue_source' },
    ]);
  });

  it('is recorded when the bank of a checkout has paid', () => {
    const topic = 'checkout.session.async_payment_succeeded';
    expect(entryOf(topic, aSession(), by('checkout'))).toMatchObject(paid);
  });

  it('of an amount beyond 2^53 is exact', () => {
    const text = JSON.stringify(aStripeEvent('charge.succeeded', aCharge({ currency: 'jpy' })));
    const parsed = parseJson(
      text.replace('"amount_captured":2998', '"amount_captured":9007199254740993'),
    );
    const [sourced] = mapStripeEvent(parsed.ok && parsed.value, rules).entries;
    expect(stringifyJson(sourced?.entry.value)).toBe('9007199254740993');
  });

  it.each([null, 'soon', 0, -1, 1e300, 8_640_000_000_001, 1.5])(
    'without a valid time has the time of the event: %j',
    (created) => {
      expect(entryOf('charge.succeeded', aCharge({ created })).event_time).toBe(raisedTime);
    },
  );

  it('without any time gets the time of its acceptance', () => {
    const event = aStripeEvent('charge.succeeded', aCharge({ created: null }), { created: null });
    expect(mapStripeEvent(event, rules).entries[0]?.entry).not.toHaveProperty('event_time');
  });
});

describe('an amount that cannot be read', () => {
  const rows: [string, object, string[], object][] = [
    ['is text', { amount_captured: '2998' }, ['unreadable_amount'], { AmountAsGiven: '2998' }],
    ['is a fraction', { amount_captured: 29.98 }, ['unreadable_amount'], { AmountAsGiven: 29.98 }],
    ['has no currency', { currency: null }, ['no_currency'], { AmountAsGiven: 2998 }],
    [
      'has an invalid currency',
      { currency: 'usdc' },
      ['unreadable_currency'],
      { AmountAsGiven: 2998, CurrencyAsGiven: 'usdc' },
    ],
  ];
  it.each(rows)(
    'is kept as a property with a warning and no value if it %s',
    (_name, fields, codes, kept) => {
      const { entries } = map('charge.succeeded', aCharge({ amount: 5000, ...fields }));
      expect(entries[0]?.warnings?.map(({ code }) => code)).toEqual(codes);
      expect(entries[0]?.entry).toMatchObject({ insert_id: 'pi_1', properties: kept });
      expect(entries[0]?.entry).not.toHaveProperty('value');
      expect(entries[0]?.entry).not.toHaveProperty('currency');
    },
  );

  it('of a capture, a refund or a dispute also results in an event without a value', () => {
    for (const [topic, object] of [
      ['charge.captured', aCharge({ amount_captured: '1' })],
      ['charge.refunded', aCharge({ amount_refunded: '1' })],
      ['refund.created', aRefund({ amount: '1' })],
      ['charge.dispute.funds_withdrawn', aRefund({ object: 'dispute', amount: '1' })],
    ] as const) {
      const { entries } = map(topic, object);
      expect(entries[0]?.warnings?.map(({ code }) => code)).toEqual(['unreadable_amount']);
      expect(entries[0]?.entry).not.toHaveProperty('value');
    }
  });
});

it('an invoice that was paid outside Stripe is marked as such', () => {
  const invoice = anInvoice({ paid_out_of_band: true });
  expect(propertiesOf('invoice.paid', invoice, by('invoice')).PaidOutOfBand).toBe(true);
});

describe('a dispute', () => {
  const aDispute = (overrides = {}) =>
    aRefund({
      id: 'dp_1',
      object: 'dispute',
      amount: 2998,
      reason: 'fraudulent',
      status: 'needs_response',
      evidence_details: { due_by: 1_768_564_700 },
      ...overrides,
    });

  it.each([
    ['charge.dispute.created', 'Disputed Payment', 'dp_1'],
    ['charge.dispute.updated', 'Updated Dispute', 'dp_1:evt_charge.dispute.updated'],
    ['charge.dispute.closed', 'Closed Dispute', 'dp_1:closed'],
  ])('is an event without a value: %s', (topic, name, id) => {
    const { entries } = map(topic, aDispute());
    expect(entries[0]?.entry).toMatchObject({
      event_name: name,
      insert_id: id,
      properties: {
        Amount: 29.98,
        Currency: 'USD',
        Dispute: 'dp_1',
        Reason: 'fraudulent',
        Status: 'needs_response',
        EvidenceDueBy: '2026-01-16T11:58:20.000Z',
      },
    });
    expect(entries[0]?.entry).not.toHaveProperty('value');
    expect(entries[0]?.personKeys).toContain('charge:ch_1');
  });

  it('counts its amount when it leaves the account and when it is returned', () => {
    const movements = [
      { id: 'txn_1', amount: -2998 },
      { id: 'txn_2', amount: 2998 },
    ];
    for (const [topic, name, id] of [
      ['charge.dispute.funds_withdrawn', 'Dispute Funds Withdrawn', 'dp_1:txn_1'],
      ['charge.dispute.funds_reinstated', 'Dispute Funds Reinstated', 'dp_1:txn_2'],
    ] as const) {
      const entry = entryOf(topic, aDispute({ balance_transactions: movements }));
      expect(entry).toMatchObject({
        event_name: name,
        insert_id: id,
        value: 29.98,
        currency: 'USD',
      });
    }
    expect(entryOf('charge.dispute.funds_withdrawn', aDispute()).insert_id).toBe('dp_1:withdrawn');
  });
});

describe('a payment that failed', () => {
  const failed = { event_name: 'Failed Payment', ...payer };

  it('is mapped from a charge to "Failed Payment" without revenue', () => {
    const charge = aCharge({
      failure_message: 'Your card was declined.',
      failure_code: 'card_declined',
    });
    const entry = entryOf('charge.failed', charge, by('invoice'));
    expect(entry).toMatchObject({
      ...failed,
      insert_id: 'ch_1',
      event_time: paidTime,
      properties: { Amount: 29.98, Currency: 'USD', Reason: 'Your card was declined.' },
    });
    expect(entry).not.toHaveProperty('value');
    expect(entry).not.toHaveProperty('currency');
  });

  it.each([
    [{ outcome: { seller_message: 'The bank did not say.' } }, 'The bank did not say.'],
    [{ outcome: null, failure_code: 'card_declined' }, 'card_declined'],
    [{ outcome: 7 }, undefined],
  ])('has the most specific reason: %j', (fields, reason) => {
    expect(propertiesOf('charge.failed', aCharge(fields)).Reason).toBe(reason);
  });

  it('is mapped from an invoice for each attempt', () => {
    const invoice = anInvoice({
      attempt_count: 2,
      payments: undefined,
      last_finalization_error: { message: 'No address.' },
    });
    expect(entryOf('invoice.payment_failed', invoice)).toMatchObject({
      ...failed,
      insert_id: 'in_1:2',
      event_time: raisedTime,
      properties: {
        Amount: 29.98,
        AttemptCount: 2,
        Currency: 'USD',
        Invoice: 'in_1',
        Number: 'A-0001',
        Reason: 'No address.',
      },
    });
  });

  it('is one event if charge and invoice report it and the invoice contains its charge', () => {
    const ids = ['ch_1', { ...aCharge(), failure_message: 'Declined.' }].map(
      (charge) => entryOf('invoice.payment_failed', anInvoice({ charge })).insert_id,
    );
    expect(ids).toEqual(['ch_1', 'ch_1']);
    expect(entryOf('charge.failed', aCharge()).insert_id).toBe('ch_1');
  });

  it('has the reason of an expanded intent or charge', () => {
    const reasonOf = (fields: Record<string, unknown>) =>
      propertiesOf('invoice.payment_failed', anInvoice(fields)).Reason;
    expect(reasonOf({ payment_intent: { last_payment_error: { message: 'Expired.' } } })).toBe(
      'Expired.',
    );
    expect(reasonOf({ charge: { failure_message: 'Declined.' } })).toBe('Declined.');
    expect(reasonOf({})).toBeUndefined();
  });
});

describe('a refund', () => {
  it.each(['refund.created', 'refund.updated'])('is mapped from %s once', (topic) => {
    const { entries } = map(topic, aRefund(), by('invoice'));
    expect(entries[0]?.entry).toEqual({
      event_name: 'Refunded Payment',
      insert_id: 're_1',
      event_time: '2026-01-15T13:58:20.000Z',
      value: 10,
      currency: 'USD',
      properties: {
        Amount: 10,
        Charge: 'ch_1',
        PaymentIntent: 'pi_1',
        Reason: 'requested_by_customer',
        Refund: 're_1',
      },
    });
    expect(entries[0]?.personKeys?.slice(0, 2)).toEqual(['payment:pi_1', 'charge:ch_1']);
  });

  it.each(['pending', 'requires_action'])('is not recorded while it is %s', (status) => {
    expect(map('refund.created', aRefund({ status }))).toMatchObject({
      entries: [],
      skipped: [{ reason: 'refund_pending' }],
    });
  });

  it('is recorded if it has no status', () => {
    expect(entryOf('refund.created', aRefund({ status: null })).value).toBe(10);
  });

  it.each([0, null])('is not recorded with the amount %j', (amount) => {
    expect(map('refund.created', aRefund({ amount })).skipped).toMatchObject([
      { reason: 'no_amount' },
    ]);
  });

  it('has the person of its charge if the charge is expanded', () => {
    expect(entryOf('refund.created', aRefund({ charge: aCharge() }))).toMatchObject({
      email: 'ada@klaviyo-demo.com',
    });
  });
});

describe('an abandoned checkout', () => {
  const left = { status: 'expired', payment_status: 'unpaid', payment_intent: null };

  it('has its recovery URL and its amount as properties', () => {
    const recovery = { enabled: true, url: 'https://buy.stripe.com/r/1' };
    const session = aSession({ ...left, after_expiration: { recovery } });
    const entry = entryOf('checkout.session.expired', session, by('checkout'));
    expect(entry).toMatchObject({
      ...ada,
      event_name: 'Checkout Abandoned',
      insert_id: 'cs_1',
      event_time: raisedTime,
      properties: { Amount: 29.98, Currency: 'USD', RecoveryUrl: 'https://buy.stripe.com/r/1' },
    });
    expect(entry).not.toHaveProperty('value');
  });

  it('without a person is skipped', () => {
    const session = aSession({ ...left, customer: null, customer_details: null });
    expect(map('checkout.session.expired', session).skipped).toMatchObject([
      { reason: 'anonymous' },
    ]);
  });

  it('of a customer whose id only other webhooks contain is looked up', () => {
    const session = aSession({ ...left, customer_details: null });
    const { entries } = map('checkout.session.expired', session, withKey);
    expect(entries[0]).toMatchObject({
      personKeys: [
        'customer:cus_1',
        'hint:customer:cus_1',
        'id:customer:cus_1',
        'reference:customer:cus_1',
      ],
      idKeys: ['id:customer:cus_1', 'reference:customer:cus_1'],
    });
    expect(entries[0]).not.toHaveProperty('fallback');
    expect(entries[0]?.entry).not.toHaveProperty('distinct_id');
  });
});

it('a finalised invoice becomes an issued invoice', () => {
  expect(entryOf('invoice.finalized', anInvoice({ due_date: 1_768_564_700 }))).toMatchObject({
    ...ada,
    event_name: 'Issued Invoice',
    insert_id: 'in_1',
    event_time: '2026-01-15T10:01:40.000Z',
    properties: { Amount: 29.98, Currency: 'USD', DueDate: '2026-01-16T11:58:20.000Z' },
  });
});

describe('a customer', () => {
  it.each(['customer.created', 'customer.updated'])('becomes a profile: %s', (topic) => {
    const metadata: unknown = JSON.parse(
      '{"plan":"gold","shop_id":"42","__proto__":"x","constructor":"x","n":1,"a":" "}',
    );
    const customer = aCustomer({
      business_name: 'Analytical Engines',
      metadata,
      shipping: { name: 'Byron', phone: '+16175550199', address: { city: 'London' } },
    });
    const { entries } = map(topic, customer, withKey);
    expect(entries).toEqual([
      {
        lane: 'profiles',
        index: 0,
        idKeys: [],
        entry: {
          email: 'ada@klaviyo-demo.com',
          phone_number: '+16175550100',
          distinct_id: '42',
          first_name: 'Ada',
          last_name: 'Lovelace',
          organization: 'Analytical Engines',
          locale: 'en-US',
          location: {
            address1: '125 Summer St',
            address2: 'Floor 6',
            city: 'Boston',
            region: 'MA',
            zip: '02110',
            country: 'US',
          },
          properties: {
            plan: 'gold',
            shop_id: '42',
            shipping: { name: 'Byron', phone: '+16175550199', city: 'London' },
          },
        },
      },
    ]);
  });

  it.each([
    ['Madonna', { first_name: 'Madonna' }],
    ['  Jean-Luc   van  Damme ', { first_name: 'Jean-Luc', last_name: 'van Damme' }],
    [' ', {}],
    [null, {}],
    [7, {}],
  ])('with the name %j has its parts', (name, names) => {
    const { first_name, last_name } = entryOf('customer.created', aCustomer({ name }));
    expect({ first_name, last_name }).toEqual({
      first_name: undefined,
      last_name: undefined,
      ...names,
    });
  });

  it('with only an id has that id', () => {
    expect(entryOf('customer.created', { id: 'cus_1', object: 'customer' })).toEqual({
      distinct_id: 'cus_1',
    });
  });

  it('without an address has the shipping address', () => {
    const customer = aCustomer({ address: null, shipping: { address: { city: 'London' } } });
    expect(entryOf('customer.created', customer).location).toEqual({ city: 'London' });
  });

  it.each([
    [{ shop_id: '42' }, '42'],
    [{ shop_id: ' ' }, 'cus_1'],
    [{ shop_id: 42 }, 'cus_1'],
    [{}, 'cus_1'],
    [null, 'cus_1'],
  ])("has the shop's own id if its metadata contains it: %j", (metadata, id) => {
    expect(entryOf('customer.created', aCustomer({ metadata }), withKey).distinct_id).toBe(id);
    expect(entryOf('customer.created', aCustomer({ metadata })).distinct_id).toBe('cus_1');
  });
});

describe('the person of an object', () => {
  const rows: [string, string, object, object][] = [
    [
      'billing e-mail first',
      'charge.succeeded',
      aCharge({ receipt_email: 'b@klaviyo-demo.com' }),
      payer,
    ],
    [
      'receipt e-mail',
      'charge.succeeded',
      aCharge({ billing_details: null, receipt_email: 'b@klaviyo-demo.com' }),
      { email: 'b@klaviyo-demo.com' },
    ],
    [
      'only a phone number',
      'charge.succeeded',
      aCharge({ billing_details: { phone: '+16175550100' } }),
      { phone_number: '+16175550100' },
    ],
    [
      'e-mail and not the billing phone beside it',
      'charge.succeeded',
      aCharge({ customer: null, billing_details: { ...payer, phone: '+16175550100' } }),
      payer,
    ],
    [
      'customer alone',
      'charge.succeeded',
      aCharge({ billing_details: null }),
      { distinct_id: 'cus_1' },
    ],
    [
      'an expanded customer',
      'charge.succeeded',
      aCharge({ billing_details: {}, customer: aCustomer() }),
      { ...ada, phone_number: '+16175550100' },
    ],
    [
      'a deleted customer',
      'charge.succeeded',
      aCharge({
        billing_details: [],
        customer: { id: 'cus_1', object: 'customer', deleted: true },
      }),
      { distinct_id: 'cus_1' },
    ],
    ['nobody', 'charge.succeeded', aCharge({ billing_details: 'ada', customer: null }), {}],
    [
      'odd fields',
      'charge.succeeded',
      aCharge({ billing_details: { email: 7, phone: {} }, receipt_email: ' ', customer: 7 }),
      {},
    ],
  ];
  it.each(rows)('is identified by %s', (_name, topic, object, person) => {
    const { email, phone_number, distinct_id } = entryOf(topic, object);
    expect({ email, phone_number, distinct_id }).toEqual({
      email: undefined,
      phone_number: undefined,
      distinct_id: undefined,
      ...person,
    });
  });

  it("is identified by a session's reference rather than its customer", () => {
    const session = aSession({
      client_reference_id: 'user-7',
      customer_details: { email: null, phone: '+16175550100' },
      customer_email: 'b@klaviyo-demo.com',
    });
    expect(entryOf('checkout.session.completed', session, by('checkout'))).toMatchObject({
      email: 'b@klaviyo-demo.com',
      phone_number: '+16175550100',
      distinct_id: 'user-7',
    });
  });

  it('is identified by the receipt or the charge of an intent, also in older API versions', () => {
    const intents = [
      { receipt_email: 'ada@klaviyo-demo.com' },
      { latest_charge: aCharge() },
      { latest_charge: undefined, charges: { data: [aCharge()] } },
    ];
    for (const fields of intents) {
      const entry = entryOf('payment_intent.succeeded', anIntent(fields), by('payment_intent'));
      expect(entry).toMatchObject(payer);
      expect(entry).not.toHaveProperty('distinct_id');
    }
    const [last] = intents.slice(-1);
    const { entries } = map('payment_intent.succeeded', anIntent(last), by('payment_intent'));
    expect(entries[0]?.personKeys).toContain('charge:ch_1');
  });

  it('is not the reference of a session if references are carts', () => {
    const session = aSession({ client_reference_id: 'cart-7' });
    const given = { ...by('checkout'), takesClientReference: false };
    expect(entryOf('checkout.session.completed', session, given)).toMatchObject(ada);
    expect(peopleOf('checkout.session.completed', session, given)).not.toHaveProperty(
      'reference:customer:cus_1',
    );
  });

  it('is looked up under every id that another webhook may contain', () => {
    const guest = anIntent({ customer: null, invoice: 'in_1' });
    const { entries } = map('payment_intent.succeeded', guest, by('payment_intent'));
    expect(entries[0]?.personKeys).toEqual([
      'payment:pi_1',
      'charge:ch_1',
      'invoice:in_1',
      'hint:payment:pi_1',
      'hint:charge:ch_1',
      'hint:invoice:in_1',
    ]);
    const found = Object.keys(peopleOf('charge.succeeded', aCharge({ customer: null })));
    expect(entries[0]?.personKeys).toEqual(expect.arrayContaining(found));
  });

  it("does not have Stripe's id if the shop has its own, unless the customer is expanded", () => {
    expect(entryOf('charge.succeeded', aCharge(), withKey)).not.toHaveProperty('distinct_id');
    const customer = aCustomer({ metadata: { shop_id: '42' } });
    expect(entryOf('charge.succeeded', aCharge({ customer }), withKey)).toMatchObject({
      email: 'ada@klaviyo-demo.com',
      distinct_id: '42',
    });
  });

  it('may be looked up under each id, and identifiers of the object itself come first', () => {
    const { entries } = map('charge.succeeded', aCharge({ customer: null }));
    expect(entries[0]?.personKeys).toEqual([
      'payment:pi_1',
      'charge:ch_1',
      'hint:payment:pi_1',
      'hint:charge:ch_1',
    ]);
  });
});

describe('the facts about people', () => {
  it('are stored from each object under its ids, whether or not it is counted', () => {
    expect(peopleOf('charge.succeeded', aCharge(), by('checkout'))).toEqual({
      'payment:pi_1': payer,
      'charge:ch_1': payer,
    });
    const own = { 'payment:pi_1': ada, 'hint:customer:cus_1': ada };
    expect(peopleOf('checkout.session.completed', aSession())).toEqual(own);
    expect(peopleOf('invoice.paid', anInvoice())).toEqual({ ...own, 'invoice:in_1': ada });
    expect(peopleOf('charge.updated', aCharge())).toMatchObject({ 'payment:pi_1': payer });
    expect(peopleOf('customer.created', aCustomer())).toEqual({
      'customer:cus_1': { ...ada, phone_number: '+16175550100' },
    });
  });

  it("are only a hint if the customer's id is the only identifier", () => {
    expect(peopleOf('payment_intent.succeeded', anIntent())).toEqual({
      'hint:payment:pi_1': { distinct_id: 'cus_1' },
      'hint:charge:ch_1': { distinct_id: 'cus_1' },
    });
    expect(peopleOf('payment_intent.succeeded', anIntent({ customer: null }))).toEqual({});
    expect(peopleOf('refund.created', aRefund())).toEqual({});
  });

  it('are also stored from an expanded customer', () => {
    const customer = aCustomer({ email: 'b@klaviyo-demo.com', metadata: { shop_id: '42' } });
    expect(peopleOf('charge.succeeded', aCharge({ customer }), withKey)).toMatchObject({
      'payment:pi_1': { email: 'b@klaviyo-demo.com', distinct_id: '42' },
      'customer:cus_1': { email: 'b@klaviyo-demo.com', distinct_id: '42' },
      'id:customer:cus_1': { distinct_id: '42' },
    });
  });

  it('are separate for each connected account', () => {
    const connected = { account: 'acct_1' };
    const keys = Object.keys(peopleOf('charge.succeeded', aCharge(), rules, connected));
    expect(keys).toEqual(['acct_1:payment:pi_1', 'acct_1:charge:ch_1']);
    const { entries } = map('refund.created', aRefund(), rules, connected);
    expect(entries[0]?.personKeys?.[0]).toBe('acct_1:payment:pi_1');
  });

  it('are not stored for a deleted customer', () => {
    expect(map('customer.deleted', aCustomer())).toMatchObject({
      people: [],
      skipped: [{ reason: 'unmapped' }],
    });
  });
});

describe('a skipped request', () => {
  it.each(['customer.subscription.created', 'invoice.sent', 'toString', '__proto__', '', null, 7])(
    'may have a topic that is not mapped: %j',
    (type) => {
      const event = { ...aStripeEvent('x', {}), type };
      expect(mapStripeEvent(event, rules)).toMatchObject({
        entries: [],
        skipped: [{ reason: 'unmapped' }],
      });
    },
  );

  it('may be a thin event', () => {
    const thin = { id: 'evt_1', object: 'v2.core.event', type: 'charge.succeeded', livemode: true };
    expect(mapStripeEvent(thin, rules)).toEqual({
      source: 'stripe',
      topic: 'charge.succeeded',
      delivery: 'evt_1',
      entries: [],
      people: [],
      skipped: [{ reason: 'unmapped' }],
    });
  });

  it('may be an event of test mode, unless these are enabled', () => {
    const event = aStripeEvent('charge.succeeded', aCharge(), { livemode: false });
    expect(mapStripeEvent(event, rules)).toMatchObject({
      entries: [],
      people: [],
      skipped: [{ reason: 'test' }],
    });
    expect(mapStripeEvent(event, { ...rules, takesTestEvents: true })).toMatchObject({
      entries: [{ entry: paid }],
      skipped: [],
    });
  });

  it.each([null, [], 'event', 7, {}, { data: null }, { data: [] }, { data: { object: 7 } }])(
    'may be a body that is not an event: %j',
    (body) => {
      expect(mapStripeEvent(body, rules)).toMatchObject({
        entries: [],
        skipped: [{ reason: 'unmapped' }],
      });
    },
  );
});

/** Replaces one field anywhere in a payload. */
const payload = fc.constantFrom(
  ...payments.map(([, topic, object]) => aStripeEvent(topic, object)),
  aStripeEvent('charge.captured', aCharge()),
  aStripeEvent('charge.failed', aCharge()),
  aStripeEvent('invoice.payment_failed', anInvoice()),
  aStripeEvent('invoice.finalized', anInvoice()),
  aStripeEvent('refund.created', aRefund()),
  aStripeEvent('refund.failed', aRefund()),
  aStripeEvent('charge.refunded', aCharge({ amount_refunded: 500 })),
  aStripeEvent('charge.dispute.created', aRefund({ object: 'dispute' })),
  aStripeEvent('charge.dispute.funds_withdrawn', aRefund({ object: 'dispute' })),
  aStripeEvent('checkout.session.expired', aSession()),
  aStripeEvent('customer.updated', aCustomer()),
);
const fields = [
  'object',
  'id',
  'amount',
  'amount_paid',
  'amount_captured',
  'amount_refunded',
  'refunds',
  'balance_transactions',
  'captured',
  'status',
  'currency',
  'created',
  'metadata',
];
const odd = fc.record({
  field: fc.constantFrom(
    ...fields,
    ...['customer', 'payment_intent', 'charge', 'latest_charge', 'payments', 'lines', 'email'],
    ...['billing_details', 'customer_details', 'status_transitions', 'address', 'shipping', 'name'],
  ),
  value: fc.oneof(fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }), fc.constant(aCustomer())),
});

it('for any value of a field, the map returns entries that can be sent or have a reason', () => {
  const context = {
    acceptedAt: receivedAt,
    newId: () => 'made',
    toE164: () => null,
    rules: newestRules,
    backfillBefore: -Infinity,
  };
  fc.assert(
    fc.property(
      payload,
      fc.array(odd, { maxLength: 5 }),
      fc.constantFrom(...payments),
      (event, odds, [source]) => {
        const changed = Object.fromEntries(odds.map(({ field, value }) => [field, value]));
        const object = { ...event.data.object, ...changed };
        const post = resolve(
          mapStripeEvent({ ...event, data: { object } }, { ...withKey, revenueSource: source }),
        );
        expect(post.entries.length + post.skipped.length).toBe(1);
        for (const sourced of post.entries) {
          const { draft, errors } = draftSourceEntry('stripe', sourced, context);
          expect(errors.length > 0).toBe(draft.deadLetterReason !== undefined);
        }
      },
    ),
    { numRuns: 3000 },
  );
});
