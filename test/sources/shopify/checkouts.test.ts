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
  ])('is about whoever is named: %j', (overrides, expected) => {
    const checkout = aCheckout({ email: null, ...overrides });
    expect(entriesOf('checkouts/create', checkout)).toMatchObject([expected]);
  });

  it('goes no further where it names nobody', () => {
    const { entries, skipped } = mapTopic('checkouts/create', aCheckout({ email: null }));
    expect([entries, skipped]).toEqual([[], [{ reason: 'anonymous' }]]);
  });

  it('is told once: checkouts/update goes no further', () => {
    const { entries, skipped } = mapTopic('checkouts/update', aCheckout());
    expect([entries, skipped]).toEqual([[], [{ reason: 'unmapped' }]]);
  });
});
