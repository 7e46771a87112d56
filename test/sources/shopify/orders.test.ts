import { describe, expect, it } from 'vitest';
import { aLine, anAddress, anOrder, shop } from '../../support/shopify.js';
import { entriesOf, mapTopic, sentOf } from './fixture.js';

const profile = {
  email: 'ada@klaviyo-demo.com',
  phone_number: '+16175551212',
  external_id: '42',
};

const goods = {
  ItemNames: ['Linen shirt'],
  Brands: ['Acme'],
  'Item Count': 1,
  Items: [
    {
      ProductID: '601',
      SKU: 'SHIRT-S',
      ProductName: 'Linen shirt',
      'Variant Name': 'S',
      Quantity: 3,
      ItemPrice: 19.99,
      RowTotal: 59.97,
      Brand: 'Acme',
    },
  ],
};

const properties = {
  OrderId: '1001',
  'Order Name': '#A1001',
  ...goods,
  'Discount Codes': ['WINTER'],
  'Total Discounts': 5,
  'Customer Locale': 'en-US',
  'Source Name': 'web',
  ShippingAddress: {
    FirstName: 'Ada',
    LastName: 'Lovelace',
    Address1: '12 Main St',
    City: 'Boston',
    Region: 'Massachusetts',
    RegionCode: 'MA',
    Country: 'United States',
    CountryCode: 'US',
    Zip: '02110',
  },
  $value: 67.35,
  total_amount: 67.35,
  order_id: '1001',
  currency: 'EUR',
};

/** What Klaviyo gets of one event. */
const toSent = (event: { readonly name: string } & Readonly<Record<string, unknown>>) => {
  const { name, ...attributes } = event;
  return {
    type: 'event-bulk-create',
    attributes: {
      profile: { data: { type: 'profile', attributes: profile } },
      events: {
        data: [
          {
            type: 'event',
            attributes: {
              value_currency: 'EUR',
              ...attributes,
              metric: { data: { type: 'metric', attributes: { name } } },
            },
          },
        ],
      },
    },
  };
};

const fulfilments = [
  { id: 31, status: 'success', created_at: '2026-01-02T08:00:00-05:00', line_items: [aLine()] },
  {
    id: 32,
    status: 'success',
    created_at: '2026-01-03T08:00:00-05:00',
    line_items: [aLine({ title: 'Scarf', quantity: 1 })],
  },
  { id: 33, status: 'cancelled', created_at: '2026-01-04T08:00:00-05:00', line_items: [] },
];

describe('orders/create', () => {
  it('becomes Placed Order, and Ordered Product for each line', () => {
    expect(sentOf('orders/create', anOrder())).toEqual([
      toSent({
        name: 'Placed Order',
        time: '2026-01-01T10:00:00-05:00',
        unique_id: 'shopify:1001',
        value: 67.35,
        properties,
      }),
      toSent({
        name: 'Ordered Product',
        time: '2026-01-01T10:00:00-05:00',
        unique_id: 'shopify:1001:501',
        value: 59.97,
        properties: {
          OrderId: '1001',
          ProductID: '601',
          SKU: 'SHIRT-S',
          ProductName: 'Linen shirt',
          'Variant Name': 'S',
          Quantity: 3,
          ItemPrice: 19.99,
          ProductBrand: 'Acme',
          $value: 59.97,
          order_id: '1001',
          currency: 'EUR',
        },
      }),
    ]);
  });

  it('lists every line, and each brand once', () => {
    const lines = [aLine(), aLine({ id: 502, title: 'Scarf' }), aLine({ id: 503, vendor: 'Loom' })];
    const entries = entriesOf('orders/create', anOrder({ line_items: lines }));
    expect(entries.map(({ insert_id: id }) => id)).toEqual([
      'shopify:1001',
      'shopify:1001:501',
      'shopify:1001:502',
      'shopify:1001:503',
    ]);
    expect(entries[0]?.properties).toMatchObject({
      ItemNames: ['Linen shirt', 'Scarf'],
      Brands: ['Acme', 'Loom'],
      'Item Count': 3,
    });
    expect(mapTopic('orders/create', anOrder({ line_items: lines })).entries).toMatchObject([
      { index: 0 },
      { index: 1 },
      { index: 2 },
      { index: 3 },
    ]);
  });

  it('keeps the digits of ids that no JavaScript number holds', () => {
    const [placed, ordered] = entriesOf(
      'orders/create',
      `{"id":820982911946154508,"customer":{"id":115310627314723954},"line_items":[{"id":866550311766439020,"product_id":632910392632910392}]}`,
    );
    expect(placed).toMatchObject({
      insert_id: 'shopify:820982911946154508',
      order_id: '820982911946154508',
      distinct_id: '115310627314723954',
    });
    expect(ordered).toMatchObject({
      insert_id: 'shopify:820982911946154508:866550311766439020',
      properties: { ProductID: '632910392632910392' },
    });
  });

  it('takes the time of the order itself, with its offset', () => {
    const timeOf = (overrides: object) =>
      entriesOf('orders/create', anOrder({ line_items: [], ...overrides }))[0]?.event_time;
    expect(timeOf({})).toBe('2026-01-01T10:00:00-05:00');
    expect(timeOf({ processed_at: null })).toBe('2026-01-01T10:00:03-05:00');
    expect(timeOf({ processed_at: 'yesterday' })).toBe('2026-01-01T10:00:03-05:00');
    expect(timeOf({ processed_at: '2026-13-01T10:00:00Z', created_at: 7 })).toBeUndefined();
  });

  it('of a test goes no further', () => {
    const { entries, skipped } = mapTopic('orders/create', anOrder({ test: true }));
    expect([entries, skipped]).toEqual([[], [{ reason: 'test' }]]);
  });
});

describe('the value of an order', () => {
  it.each([
    ['total', {}, 67.35],
    ['subtotal_and_shipping', {}, 60.07],
    ['subtotal_and_shipping', { total_shipping_price_set: null }, 54.97],
    ['subtotal_and_shipping', { subtotal_price: null }, undefined],
    ['total', { total_price: null }, undefined],
    ['total', { total_price: 'free' }, undefined],
    ['total', { total_price: 12.5 }, 12.5],
    ['total', { total_price: '0.00' }, 0],
  ] as const)('counts by %s, %j: %s', (orderValue, overrides, expected) => {
    const [placed] = entriesOf('orders/create', anOrder(overrides), orderValue);
    expect(placed?.value).toBe(expected);
  });

  it('adds subtotal and shipping exactly', () => {
    const total_shipping_price_set = { shop_money: { amount: '0.2' } };
    const order = anOrder({ subtotal_price: '0.1', total_shipping_price_set });
    expect(entriesOf('orders/create', order, 'subtotal_and_shipping')[0]?.value).toBe(0.3);
  });

  it.each([
    ['19.99', 3, 59.97],
    ['1.1', 3, 3.3],
    ['19.99', 0, 0],
    [null, 3, undefined],
    ['19.99', null, undefined],
    ['19.99', 1.5, undefined],
  ])('of a line is %s × %s = %s', (price, quantity, expected) => {
    const order = anOrder({ line_items: [aLine({ price, quantity })] });
    expect(entriesOf('orders/create', order)[1]?.value).toBe(expected);
  });
});

describe('what becomes of an order', () => {
  it('is Fulfilled Order, at the time of the newest fulfilment that stands', () => {
    const order = anOrder({ fulfillments: fulfilments });
    expect(sentOf('orders/fulfilled', order)).toEqual([
      toSent({
        name: 'Fulfilled Order',
        time: '2026-01-03T08:00:00-05:00',
        unique_id: 'shopify:1001',
        value: 67.35,
        properties,
      }),
    ]);
  });

  it('is Fulfilled Partial Order for each fulfilment, with what it holds', () => {
    const toPartial = (count: number) =>
      entriesOf(
        'orders/partially_fulfilled',
        anOrder({ fulfillments: fulfilments.slice(0, count) }),
      );
    expect(toPartial(1)).toMatchObject([
      {
        event_name: 'Fulfilled Partial Order',
        insert_id: 'shopify:1001:31',
        event_time: '2026-01-02T08:00:00-05:00',
        properties: { ItemNames: ['Linen shirt'] },
      },
    ]);
    expect(toPartial(2)).toMatchObject([
      { insert_id: 'shopify:1001:32', value: 67.35, properties: { ItemNames: ['Scarf'] } },
    ]);
  });

  it('is Cancelled Order, with the reason', () => {
    const cancelled_at = '2026-01-02T11:00:00-05:00';
    const order = anOrder({ cancelled_at, cancel_reason: 'inventory' });
    expect(sentOf('orders/cancelled', order)).toEqual([
      toSent({
        name: 'Cancelled Order',
        time: cancelled_at,
        unique_id: 'shopify:1001',
        value: 67.35,
        properties: { ...properties, Reason: 'inventory' },
      }),
    ]);
  });

  it.each(['orders/fulfilled', 'orders/partially_fulfilled', 'orders/cancelled'])(
    'is told without what is not there: %s',
    (topic) => {
      const bare = '{"id":1001,"email":"ada@klaviyo-demo.com"}';
      const [entry, ...others] = entriesOf(topic, bare);
      expect(others).toEqual([]);
      expect(entry).toMatchObject({ order_id: '1001', properties: { OrderId: '1001' } });
      expect(entry).not.toHaveProperty('value');
      expect(entry).not.toHaveProperty('event_time');
      expect(sentOf(topic, bare)).not.toContain('not_valid');
    },
  );
});

describe('the buyer of an order', () => {
  const buyerOf = (overrides: object) => {
    const nobody = { email: null, contact_email: null, phone: null, customer: null };
    const order = anOrder({ ...nobody, shipping_address: null, ...overrides });
    return mapTopic('orders/create', order).people[0]?.person;
  };

  it.each([
    [{ email: 'a@klaviyo-demo.com', contact_email: 'b@klaviyo-demo.com' }, 'a@klaviyo-demo.com'],
    [{ email: '', contact_email: 'b@klaviyo-demo.com' }, 'b@klaviyo-demo.com'],
    [{ customer: { email: 'c@klaviyo-demo.com' } }, 'c@klaviyo-demo.com'],
  ])('has the first e-mail address there is: %j', (overrides, email) => {
    expect(buyerOf(overrides)).toEqual({ email });
  });

  it.each([
    [{ phone: '+16175551212', customer: { phone: '+442071838750' } }, '+16175551212'],
    [{ customer: { phone: '+442071838750' }, billing_address: anAddress() }, '+442071838750'],
    [
      { billing_address: anAddress(), shipping_address: { phone: '+442071838750' } },
      '+16175551212',
    ],
    [
      { shipping_address: anAddress({ phone: '020 7183 8750', country_code: 'GB' }) },
      '+442071838750',
    ],
    [{ customer: { default_address: anAddress() } }, '+16175551212'],
    [{ shipping_address: { phone: 'by pigeon', country_code: 'US' } }, 'by pigeon'],
  ])('has the first phone number there is: %j', (overrides, phone) => {
    expect(buyerOf(overrides)).toEqual({ phone_number: phone });
  });

  it('is nobody where all of it is hidden, and no order of theirs is forgotten', () => {
    expect(buyerOf({})).toBeUndefined();
    const hidden = '{"id":1001,"email":null,"phone":null,"customer":null}';
    expect(sentOf('orders/create', hidden)).toEqual(['unknown_person']);
  });

  it.each([
    'orders/create',
    'orders/updated',
    'orders/paid',
    'orders/cancelled',
    'orders/new_topic',
  ])('is remembered by %s', (topic) => {
    expect(mapTopic(topic, anOrder()).people).toEqual([
      {
        kind: 'order',
        key: `order:${shop}:1001`,
        person: {
          email: 'ada@klaviyo-demo.com',
          phone_number: '+16175551212',
          distinct_id: '42',
        },
      },
    ]);
  });
});
