import { describe, expect, it } from 'vitest';
import { aRefund, aTransaction, shop } from '../../support/shopify.js';
import { entriesOf, mapTopic, sentOf } from './fixture.js';

const refunded = (...transactions: readonly unknown[]) =>
  entriesOf('refunds/create', aRefund({ transactions }))[0];

describe('refunds/create', () => {
  it('becomes Refunded Order, for whoever the order was placed by', () => {
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

  it('is a dead letter as long as nobody knows the order', () => {
    expect(sentOf('refunds/create', aRefund())).toEqual(['unknown_person']);
  });

  it('is worth what was paid back, to the cent', () => {
    const paid = ['0.1', '0.2', '19.99'].map((amount) => aTransaction({ amount }));
    expect(refunded(...paid)).toMatchObject({ value: 20.29, currency: 'EUR' });
  });

  it.each([
    ['did not succeed', { status: 'failure' }],
    ['has not succeeded yet', { status: 'pending' }],
    ['is no refund', { kind: 'sale' }],
    ['is void', { kind: 'void' }],
  ])('does not count a transaction that %s', (_why, overrides) => {
    const other = aTransaction({ amount: '100.00', currency: 'USD', ...overrides });
    expect(refunded(other, aTransaction())).toMatchObject({ value: 19.99, currency: 'EUR' });
    expect(mapTopic('refunds/create', aRefund({ transactions: [other] }))).toMatchObject({
      entries: [],
      skipped: [{ reason: 'no_amount' }],
    });
  });

  it.each([[[]], [null], ['none'], [[null, 7]]])(
    'goes no further without money: %j',
    (transactions) => {
      expect(mapTopic('refunds/create', aRefund({ transactions })).skipped).toMatchObject([
        { reason: 'no_amount' },
      ]);
    },
  );

  it('goes no further where it is a test', () => {
    const transactions = [aTransaction({ test: true })];
    expect(mapTopic('refunds/create', aRefund({ transactions }))).toMatchObject({
      entries: [],
      skipped: [{ reason: 'test' }],
    });
  });

  it('has no value where amounts cannot be added up', () => {
    expect(refunded(aTransaction(), aTransaction({ currency: 'USD' }))).not.toHaveProperty('value');
    expect(refunded(aTransaction(), aTransaction({ amount: null }))).not.toHaveProperty('value');
    expect(refunded(aTransaction({ currency: null }))).toMatchObject({ value: 19.99 });
  });

  it('takes the time it was made where it has no other, and asks for nobody without an order', () => {
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

  it('keeps the digits of ids that no JavaScript number holds', () => {
    const text = `{"id":929361464912345678,"order_id":820982911946154508,"transactions":[{"kind":"refund","status":"success","amount":"1.00"}]}`;
    expect(mapTopic('refunds/create', text).entries[0]).toMatchObject({
      personKeys: [`order:${shop}:820982911946154508`],
      entry: { insert_id: 'shopify:929361464912345678', order_id: '820982911946154508' },
    });
  });
});
