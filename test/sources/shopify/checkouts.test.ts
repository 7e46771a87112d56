import { describe, expect, it } from 'vitest';
import { aCheckout } from '../../support/shopify.js';
import { entriesOf, mapTopic, sentOf } from './fixture.js';

describe('checkouts/create', () => {
  it('becomes Checkout Started', () => {
    expect(sentOf('checkouts/create', aCheckout())).toMatchObject([
      {
        attributes: {
          profile: { data: { attributes: { email: 'ada@klaviyo-demo.com' } } },
          events: {
            data: [
              {
                attributes: {
                  metric: { data: { attributes: { name: 'Checkout Started' } } },
                  unique_id: 'shopify:b1946ac92492d2347c6235b4d2611184',
                  time: '2026-01-01T09:58:00-05:00',
                  value: 65.07,
                  value_currency: 'EUR',
                  properties: {
                    CheckoutId: '2001',
                    CheckoutURL: 'https://ada.myshopify.com/checkouts/ac/b1946ac9/recover',
                    ItemNames: ['Linen shirt'],
                    'Item Count': 1,
                    Items: [{ ProductID: '601', RowTotal: 59.97 }],
                    'Total Discounts': 0,
                    'Customer Locale': 'en-US',
                  },
                },
              },
            ],
          },
        },
      },
    ]);
  });

  it.each([
    [{ phone: '+16175551212' }, { phone_number: '+16175551212' }],
    [{ sms_marketing_phone: '+16175551212' }, { phone_number: '+16175551212' }],
    [{ customer: { id: 42 } }, { distinct_id: '42' }],
  ])('identifies the person by any contact: %j', (overrides, expected) => {
    const checkout = aCheckout({ email: null, ...overrides });
    expect(entriesOf('checkouts/create', checkout)).toMatchObject([expected]);
  });

  it('is skipped if it identifies no person', () => {
    const { entries, skipped } = mapTopic('checkouts/create', aCheckout({ email: null }));
    expect([entries, skipped]).toEqual([[], [{ reason: 'anonymous' }]]);
  });

  it('is skipped if it is completed, because the order is recorded', () => {
    const completed_at = '2026-01-01T10:00:00-05:00';
    const { entries, skipped } = mapTopic('checkouts/update', aCheckout({ completed_at }));
    expect([entries, skipped]).toEqual([[], [{ reason: 'completed' }]]);
  });

  it('uses its id for the unique id if the token is missing', () => {
    expect(entriesOf('checkouts/create', aCheckout({ token: null }))).toMatchObject([
      { insert_id: 'shopify:2001' },
    ]);
  });

  it('has the same unique id as checkouts/update after changes', () => {
    const later = { email: 'ada@klaviyo-demo.com', total_price: '70.00' };
    const [first] = entriesOf('checkouts/create', aCheckout({ email: null, customer: { id: 42 } }));
    const customer = { id: 42, email: 'ada@klaviyo-demo.com' };
    const [second] = entriesOf('checkouts/update', aCheckout({ ...later, customer }));
    expect(first).toMatchObject({ distinct_id: '42' });
    expect(second).toMatchObject({ email: 'ada@klaviyo-demo.com', distinct_id: '42', value: 70 });
    expect(second?.insert_id).toBe(first?.insert_id);
  });

  it('warns about an unreadable amount and has no value', () => {
    const { entries } = mapTopic('checkouts/create', aCheckout({ total_price: 'free?' }));
    expect(entries[0]?.entry).not.toHaveProperty('value');
    expect(entries).toMatchObject([
      {
        entry: { properties: { total_price: 'free?' } },
        warnings: [{ code: 'unreadable_amount', pointer: '/total_price' }],
      },
    ]);
  });
});
