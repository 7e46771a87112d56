import { describe, expect, it } from 'vitest';
import { anOrder, aRefund, aTransaction, shop } from '../../support/shopify.js';
import { entriesOf, mapTopic, sentOf } from './fixture.js';

const refunded = (...transactions: readonly unknown[]) =>
  entriesOf('refunds/create', aRefund({ transactions }))[0];

describe('refunds/create', () => {
  it('becomes Refunded Order for the buyer of the order', () => {
    expect(mapTopic('refunds/create', aRefund())).toEqual({
      source: 'shopify',
      topic: 'refunds/create',
      delivery: 'wh-1',
      people: [],
      skipped: [],
      entries: [
        {
          lane: 'events',
          index: 0,
          id: '801',
          personKeys: [`order:${shop}:1001`],
          entry: {
            event_name: 'Refunded Order',
            event_time: '2026-01-05T09:30:00-05:00',
            insert_id: 'shopify:801',
            value: 19.99,
            currency: 'EUR',
            order_id: '1001',
            properties: {
              OrderId: '1001',
              RefundId: '801',
              Reason: 'too small',
              ItemNames: ['Linen shirt'],
              Brands: ['Acme'],
              Items: [
                {
                  ProductID: '601',
                  SKU: 'SHIRT-S',
                  ProductName: 'Linen shirt',
                  'Variant Name': 'S',
                  Quantity: 1,
                  ItemPrice: 19.99,
                  RowTotal: 19.99,
                  Brand: 'Acme',
                },
              ],
            },
          },
        },
      ],
    });
  });

  it('becomes a dead letter if the order is unknown', () => {
    expect(sentOf('refunds/create', aRefund())).toEqual(['unknown_person']);
  });

  it('has the exact refunded amount as value', () => {
    const paid = ['0.1', '0.2', '19.99'].map((amount) => aTransaction({ amount }));
    expect(refunded(...paid)).toMatchObject({ value: 20.29, currency: 'EUR' });
  });

  it.each([
    ['did not succeed', { status: 'failure' }, 'failed'],
    ['met an error', { status: 'error' }, 'failed'],
    ['is no refund', { kind: 'sale' }, 'no_amount'],
    ['is void', { kind: 'void' }, 'no_amount'],
    ['is a test', { test: true }, 'test'],
  ])('does not count a transaction that %s', (_why, overrides, reason) => {
    const other = aTransaction({ amount: '100.00', currency: 'USD', ...overrides });
    expect(refunded(other, aTransaction())).toMatchObject({ value: 19.99, currency: 'EUR' });
    expect(mapTopic('refunds/create', aRefund({ transactions: [other] }))).toMatchObject({
      entries: [],
      skipped: [{ reason, id: '801' }],
    });
  });

  it.each(['pending', 'awaiting_response', 'unknown', null])(
    'is skipped while a transaction is %s',
    (status) => {
      const pending = aTransaction({ status });
      for (const transactions of [[pending], [aTransaction(), pending]]) {
        expect(mapTopic('refunds/create', aRefund({ transactions }))).toMatchObject({
          entries: [],
          skipped: [{ reason: 'pending', id: '801' }],
        });
      }
    },
  );

  it('counts pending transactions at once if SHOPIFY_PENDING_REFUNDS is count', () => {
    const transactions = [aTransaction(), aTransaction({ status: 'pending', amount: '5.01' })];
    const settings = { pendingRefunds: 'count' } as const;
    expect(entriesOf('refunds/create', aRefund({ transactions }), settings)).toMatchObject([
      { insert_id: 'shopify:801', value: 25, currency: 'EUR' },
    ]);
    const failed = [aTransaction({ status: 'failure' })];
    expect(mapTopic('refunds/create', aRefund({ transactions: failed }), settings)).toMatchObject({
      entries: [],
      skipped: [{ reason: 'failed' }],
    });
  });

  it.each([[[]], [null], ['none'], [[null, 7]]])('is skipped without money: %j', (transactions) => {
    expect(mapTopic('refunds/create', aRefund({ transactions })).skipped).toMatchObject([
      { reason: 'no_amount' },
    ]);
  });

  it('is skipped if it is a test', () => {
    const transactions = [aTransaction({ test: true })];
    expect(mapTopic('refunds/create', aRefund({ transactions }))).toMatchObject({
      entries: [],
      skipped: [{ reason: 'test' }],
    });
  });

  it.each([
    ['are of several currencies', { currency: 'USD' }, 'several_currencies', '19.99 USD'],
    ['cannot be read', { amount: 'all of it' }, 'unreadable_amount', 'all of it EUR'],
    ['are missing', { amount: null }, 'no_amount', 'EUR'],
  ])('has no value and a warning if amounts %s', (_what, overrides, code, text) => {
    const transactions = [aTransaction(), aTransaction(overrides)];
    const [entry] = mapTopic('refunds/create', aRefund({ transactions })).entries;
    expect(entry?.entry).not.toHaveProperty('value');
    expect(entry).toMatchObject({
      entry: { properties: { Amounts: ['19.99 EUR', text] } },
      warnings: [{ code }],
    });
  });

  it('without a currency has a value and a warning', () => {
    const transactions = [aTransaction({ currency: null })];
    expect(mapTopic('refunds/create', aRefund({ transactions })).entries).toMatchObject([
      { entry: { value: 19.99 }, warnings: [{ code: 'no_currency' }] },
    ]);
  });

  it('has the time of its creation if it has no other, and looks up no person without an order', () => {
    const [bare] = mapTopic('refunds/create', {
      ...aRefund(),
      processed_at: null,
      order_id: null,
      refund_line_items: null,
    }).entries;
    expect(bare?.entry).toMatchObject({
      event_time: '2026-01-05T09:00:00-05:00',
      properties: { RefundId: '801', Reason: 'too small' },
    });
    expect(bare?.personKeys).toEqual([]);
  });

  it('keeps the digits of ids beyond 2^53', () => {
    const text = `{"id":929361464912345678,"order_id":820982911946154508,"transactions":[{"kind":"refund","status":"success","amount":"1.00"}]}`;
    expect(mapTopic('refunds/create', text).entries[0]).toMatchObject({
      personKeys: [`order:${shop}:820982911946154508`],
      entry: { insert_id: 'shopify:929361464912345678', order_id: '820982911946154508' },
    });
  });
});

describe('orders/updated', () => {
  const updated = (overrides: Readonly<Record<string, unknown>>) =>
    mapTopic('orders/updated', anOrder(overrides));

  it('becomes a successful refund with the unique id of refunds/create, for the buyer', () => {
    const pending = { refunds: [aRefund({ transactions: [aTransaction({ status: 'pending' })] })] };
    expect(updated(pending)).toMatchObject({
      entries: [],
      skipped: [{ reason: 'pending', id: '801' }],
    });
    const [fromOrder] = updated({ refunds: [aRefund()] }).entries;
    const [fromRefund] = entriesOf('refunds/create', aRefund());
    const buyer = {
      email: 'ada@klaviyo-demo.com',
      phone_number: '+16175551212',
      distinct_id: '42',
    };
    expect(fromOrder?.entry).toEqual({ ...fromRefund, ...buyer });
  });

  it('produces an event for each refund of the order', () => {
    const refunds = [
      aRefund(),
      aRefund({ id: 802, transactions: [aTransaction({ status: 'pending' })] }),
      aRefund({ id: 803, transactions: [aTransaction({ status: 'failure' })] }),
      aRefund({ id: 804, transactions: [aTransaction({ amount: '5.00' })] }),
    ];
    expect(updated({ refunds })).toMatchObject({
      entries: [
        { index: 0, id: '801', entry: { insert_id: 'shopify:801', value: 19.99 } },
        { index: 3, id: '804', entry: { insert_id: 'shopify:804', value: 5 } },
      ],
      skipped: [
        { reason: 'pending', id: '802' },
        { reason: 'failed', id: '803' },
      ],
    });
  });

  it('has pointers into the order in its warnings', () => {
    const refunds = [aRefund({ transactions: [aTransaction({ amount: 'all' })] })];
    expect(updated({ refunds }).entries).toMatchObject([
      { warnings: [{ pointer: '/refunds/0/transactions/0/amount' }] },
    ]);
  });

  it('uses the currency of the order if a transaction has none and the buyer paid in it', () => {
    const refunds = [aRefund({ transactions: [aTransaction({ currency: null })] })];
    const inEuros = { refunds, presentment_currency: 'EUR' };
    expect(updated(inEuros).entries).toMatchObject([{ entry: { value: 19.99, currency: 'EUR' } }]);
    const [inDollars] = updated({ refunds }).entries;
    expect(inDollars?.entry).not.toHaveProperty('currency');
  });

  it.each([
    ['no refund', { refunds: [] }, 'no_refund'],
    ['no list of refunds', { refunds: null }, 'no_refund'],
    ['a test order', { refunds: [aRefund()], test: true }, 'test'],
    [
      'an order without a buyer',
      {
        refunds: [aRefund()],
        email: null,
        contact_email: null,
        phone: null,
        customer: null,
        shipping_address: null,
      },
      'anonymous',
    ],
  ])('is skipped with %s', (_what, overrides, reason) => {
    expect(updated(overrides)).toMatchObject({ entries: [], skipped: [{ reason }] });
  });

  it('skips refunds that are older than 60 days', () => {
    const late = { updated_at: '2026-03-07T09:00:00-05:00', refunds: [aRefund()] };
    expect(updated(late)).toMatchObject({ entries: [], skipped: [{ reason: 'old_refund' }] });
    const soon = { ...late, updated_at: '2026-03-05T09:00:00-05:00' };
    expect(updated(soon).entries).toHaveLength(1);
  });
});
