import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  aCheckout,
  aCustomer,
  aFulfilment,
  aFulfilmentEvent,
  anOrder,
  aRefund,
} from '../../support/shopify.js';
import { mapTopic, sentOf } from './fixture.js';

const mapped = [
  ['orders/create', anOrder()],
  ['orders/fulfilled', anOrder()],
  ['orders/partially_fulfilled', anOrder()],
  ['orders/cancelled', anOrder()],
  ['orders/updated', anOrder({ refunds: [aRefund()] })],
  ['refunds/create', aRefund()],
  ['fulfillments/create', aFulfilment({ shipment_status: 'confirmed' })],
  ['fulfillments/update', aFulfilment({ shipment_status: 'delivered' })],
  ['fulfillment_events/create', aFulfilmentEvent()],
  ['checkouts/create', aCheckout()],
  ['checkouts/update', aCheckout()],
  ['customers/create', aCustomer()],
  ['customers/update', aCustomer()],
] as const;

describe('a topic', () => {
  it.each([
    'orders/paid',
    'orders/edited',
    'orders/delete',
    'draft_orders/create',
    'draft_orders/update',
    'products/create',
    '',
    'constructor',
  ])('without a map is skipped: %s', (topic) => {
    const { entries, skipped } = mapTopic(topic, anOrder());
    expect([entries, skipped]).toEqual([[], [{ reason: 'unmapped' }]]);
  });

  it('about privacy stores no facts of a person', () => {
    const request = '{"shop_id":1,"customer":{"id":42,"email":"ada@klaviyo-demo.com"}}';
    expect(mapTopic('customers/redact', request).people).toEqual([]);
  });

  it('is mapped with the id of the delivery', () => {
    expect(mapTopic('orders/create', anOrder())).toMatchObject({
      source: 'shopify',
      topic: 'orders/create',
      delivery: 'wh-1',
    });
  });
});

describe.each(mapped)('%s', (topic, payload) => {
  it.each([null, 7, 'text', [], [[]], {}].map((body) => JSON.stringify(body)))(
    'treats the payload %s as empty',
    (body) => {
      expect(() => sentOf(topic, body)).not.toThrow();
    },
  );

  it('returns the same result every time', () => {
    expect(mapTopic(topic, payload)).toEqual(mapTopic(topic, payload));
  });

  it('maps the remaining fields if any field is null', () => {
    // A refund without an order has no person, and no later webhook can identify one.
    const names = Object.keys(payload).filter((name) => name !== 'order_id');
    for (const name of names) {
      const sent = sentOf(topic, { ...payload, [name]: null });
      expect(sent, name).not.toContain('not_valid');
    }
  });

  it('does not throw for any value of any field', () => {
    const odd = fc.tuple(fc.constantFrom(...Object.keys(payload)), fc.jsonValue());
    fc.assert(
      fc.property(fc.array(odd, { maxLength: 6 }), (fields) => {
        sentOf(topic, { ...payload, ...Object.fromEntries(fields) });
      }),
    );
  });

  it('replaces lone surrogates', () => {
    const broken = JSON.stringify({ ...payload, note: '?', first_name: '?', name: '?' });
    const sent = JSON.stringify(sentOf(topic, broken.replaceAll('"?"', '"\\ud83d"')));
    expect(sent).not.toContain('\\ud83d');
  });
});
