import { describe, expect, it } from 'vitest';
import { aCustomer } from '../../support/shopify.js';
import { entriesOf, mapTopic, sentOf } from './fixture.js';

describe.each(['customers/create', 'customers/update'])('%s', (topic) => {
  it('becomes a profile', () => {
    expect(sentOf(topic, aCustomer())).toEqual([
      {
        type: 'profile',
        attributes: {
          email: 'ada@klaviyo-demo.com',
          phone_number: '+16175551212',
          external_id: '42',
          first_name: 'Ada',
          last_name: 'Lovelace',
          organization: 'Analytical Engines',
          location: {
            address1: '12 Main St',
            city: 'Boston',
            region: 'Massachusetts',
            zip: '02110',
            country: 'United States',
          },
          properties: {
            'Shopify Tags': ['vip', 'wholesale'],
            'Shopify Orders Count': 3,
            'Shopify Total Spent': 201.35,
          },
        },
      },
    ]);
    expect(mapTopic(topic, aCustomer()).people).toEqual([]);
  });

  it('omits fields that are hidden from the app', () => {
    const hidden = `{"id":115310627314723954,"email":null,"phone":null,"first_name":null,"last_name":null,"default_address":null,"tags":"","orders_count":null,"total_spent":null}`;
    expect(entriesOf(topic, hidden)).toEqual([{ distinct_id: '115310627314723954' }]);
  });

  it('does not use the phone number of an address, which may belong to the recipient of a gift', () => {
    const [customer] = entriesOf(topic, aCustomer({ phone: null }));
    expect(customer).toMatchObject({ email: 'ada@klaviyo-demo.com', distinct_id: '42' });
    expect(customer).not.toHaveProperty('phone_number');
    const [bare] = entriesOf(topic, aCustomer({ phone: null, email: null }));
    expect(bare).not.toHaveProperty('phone_number');
  });

  it('keeps the text of an unreadable amount', () => {
    expect(entriesOf(topic, aCustomer({ total_spent: 'much' }))).toMatchObject([
      { properties: { 'Shopify Total Spent': 'much' } },
    ]);
  });
});
