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

/** The payload of one event. */
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
  it('becomes Placed Order and an Ordered Product for each line', () => {
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

  it('lists every line and each brand once', () => {
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

  it('keeps the digits of ids beyond 2^53', () => {
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

  it('identifies a line without an id by its index, so that a repetition has the same id', () => {
    const lines = [aLine({ id: null }), aLine({ id: undefined })];
    const ids = entriesOf('orders/create', anOrder({ line_items: lines })).map(
      ({ insert_id: id }) => id,
    );
    expect(ids).toEqual(['shopify:1001', 'shopify:1001:line-1', 'shopify:1001:line-2']);
  });

  it('has URLs and images of products if an app adds them', () => {
    const lines = [
      aLine({
        image_url: '//cdn.shopify.com/s/shirt.png',
        product_url: 'https://ada.example/shirt',
      }),
      aLine({ image: { src: 'https://cdn.shopify.com/scarf.png' }, url: '/products/scarf' }),
    ];
    const [placed, first, second] = entriesOf('orders/create', anOrder({ line_items: lines }));
    const shirt = {
      ImageURL: 'https://cdn.shopify.com/s/shirt.png',
      ProductURL: 'https://ada.example/shirt',
    };
    const scarf = { ImageURL: 'https://cdn.shopify.com/scarf.png' };
    expect(placed?.properties).toMatchObject({ Items: [shirt, scarf] });
    expect(first?.properties).toMatchObject(shirt);
    expect(second?.properties).toMatchObject(scarf);
    expect(second?.properties).not.toHaveProperty('ProductURL');
  });

  it('has the time of the order with its offset', () => {
    const timeOf = (overrides: object) =>
      entriesOf('orders/create', anOrder({ line_items: [], ...overrides }))[0]?.event_time;
    expect(timeOf({})).toBe('2026-01-01T10:00:00-05:00');
    expect(timeOf({ processed_at: null })).toBe('2026-01-01T10:00:03-05:00');
    expect(timeOf({ processed_at: 'yesterday' })).toBe('2026-01-01T10:00:03-05:00');
    expect(timeOf({ processed_at: '2026-13-01T10:00:00Z', created_at: 7 })).toBeUndefined();
    expect(timeOf({ processed_at: '2026-01-01 10:00:00 UTC' })).toBe('2026-01-01T10:00:00.000Z');
  });

  it('warns about an unreadable time and keeps its text', () => {
    const { entries } = mapTopic('orders/create', anOrder({ processed_at: 'yesterday' }));
    expect(entries).toMatchObject([
      {
        entry: {
          event_time: '2026-01-01T10:00:03-05:00',
          properties: { processed_at: 'yesterday' },
        },
        warnings: [{ code: 'unreadable_time', pointer: '/processed_at' }],
      },
      { entry: { event_name: 'Ordered Product', properties: { processed_at: 'yesterday' } } },
    ]);
    expect(entries[1]).not.toHaveProperty('warnings');
  });

  it('is skipped if it is a test order', () => {
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
  ] as const)('is by SHOPIFY_ORDER_VALUE %s, %j: %s', (orderValue, overrides, expected) => {
    const [placed] = entriesOf('orders/create', anOrder(overrides), { orderValue });
    expect(placed?.value).toBe(expected);
  });

  const shipped = (...lines: readonly object[]) => ({
    total_shipping_price_set: { shop_money: { amount: '9.90' } },
    shipping_lines: lines,
  });
  const toMoney = (amount: string) => ({
    shop_money: { amount, currency_code: 'EUR' },
    presentment_money: { amount: '99.99', currency_code: 'USD' },
  });

  it.each([
    [
      'a code for free shipping',
      shipped({
        price: '9.90',
        discounted_price: '0.00',
        discount_allocations: [{ amount: '9.90' }],
      }),
      54.97,
    ],
    [
      'a part of the price',
      shipped({ price: '9.90', discount_allocations: [{ amount: '4.95' }] }),
      59.92,
    ],
    [
      'two discounts',
      shipped({ price: '9.90', discount_allocations: [{ amount: '4' }, { amount: '1.9' }] }),
      58.97,
    ],
    [
      'a discount of only the line',
      shipped({ price: '9.90', discounted_price: '5.00', discount_allocations: [] }),
      59.97,
    ],
    [
      'a discount of only the whole order',
      shipped({
        price: '9.90',
        discounted_price: '9.90',
        discount_allocations: [{ amount: '9.90' }],
      }),
      54.97,
    ],
    [
      'no discount',
      shipped({ price: '9.90', discounted_price: '9.90', discount_allocations: [] }),
      64.87,
    ],
    [
      'one of two shipping lines',
      shipped({ price: '5.00' }, { price: '4.90', discounted_price: '0.00' }),
      59.97,
    ],
    [
      'a line that an edit removed',
      shipped({ price: '5.00', is_removed: true }, { price: '4.90' }),
      59.87,
    ],
    [
      'amounts in the currency of the buyer',
      shipped({
        price: '99.99',
        price_set: toMoney('9.90'),
        discounted_price_set: toMoney('9.90'),
        discount_allocations: [{ amount: '99.99', amount_set: toMoney('9.90') }],
      }),
      54.97,
    ],
    [
      'a code, and no shipping lines',
      { ...shipped(), discount_codes: [{ code: 'FREE', type: 'shipping', amount: '9.90' }] },
      54.97,
    ],
    [
      'a code larger than the shipping',
      { ...shipped(), discount_codes: [{ type: 'shipping', amount: '12.00' }] },
      54.97,
    ],
    [
      'a code for goods',
      { ...shipped(), discount_codes: [{ type: 'percentage', amount: '9.90' }] },
      64.87,
    ],
    [
      'a later return',
      {
        ...shipped({ price: '9.90' }),
        current_shipping_price_set: toMoney('0.00'),
        current_subtotal_price: '0.00',
      },
      64.87,
    ],
  ])('subtracts discounts of shipping: %s', (_what, overrides, expected) => {
    const order = anOrder(overrides);
    const [placed] = entriesOf('orders/create', order, { orderValue: 'subtotal_and_shipping' });
    expect(placed).toMatchObject({ value: expected, currency: 'EUR', total_amount: 67.35 });
  });

  it.each([
    ['total', { total_price: 'free' }, '/total_price', 'total_price'],
    ['total', { total_price: '1.299' }, '/total_price', 'total_price'],
    ['subtotal_and_shipping', { subtotal_price: 'n/a' }, '/subtotal_price', 'subtotal_price'],
    [
      'subtotal_and_shipping',
      shipped({ price: 'free' }),
      '/shipping_lines/0/price',
      'shipping_lines.0.price',
    ],
    [
      'subtotal_and_shipping',
      shipped({ price: '9.90', discount_allocations: [{ amount: 'all' }] }),
      '/shipping_lines/0/discount_allocations/0/amount',
      'shipping_lines.0.discount_allocations.0.amount',
    ],
  ] as const)(
    'by %s is absent if an amount is unreadable: %j',
    (orderValue, overrides, pointer, name) => {
      const { entries } = mapTopic('orders/create', anOrder(overrides), { orderValue });
      const [placed] = entries;
      expect(placed?.entry).not.toHaveProperty('value');
      expect(placed?.entry.properties).toHaveProperty([name]);
      expect(placed?.warnings).toMatchObject([{ code: 'unreadable_amount', pointer }]);
    },
  );

  it('gives a warning if it is absent or has no currency', () => {
    const warningsOf = (overrides: Readonly<Record<string, unknown>>) =>
      mapTopic('orders/create', anOrder(overrides)).entries[0]?.warnings;
    expect(warningsOf({})).toBeUndefined();
    expect(warningsOf({ total_price: null })).toMatchObject([{ code: 'no_amount' }]);
    expect(warningsOf({ currency: null })).toMatchObject([{ code: 'no_currency' }]);
    expect(warningsOf({ currency: 'Euros' })).toMatchObject([
      { code: 'unreadable_currency', pointer: '/currency' },
    ]);
  });

  it('is in the currency of the shop and not in that of the buyer', () => {
    const [placed, ordered] = entriesOf(
      'orders/create',
      anOrder({ currency: null, total_price_set: toMoney('67.35') }),
    );
    expect(placed).toMatchObject({ value: 67.35, currency: 'EUR' });
    expect(ordered).toMatchObject({ value: 59.97, currency: 'EUR' });
  });

  it('is the value at the time of the order, before later edits and returns', () => {
    const later = { current_total_price: '10.00', current_subtotal_price: '5.00' };
    expect(entriesOf('orders/create', anOrder(later))[0]?.value).toBe(67.35);
  });

  it('of a line gives a warning if it is unreadable', () => {
    const lines = [aLine({ price: 'dear' }), aLine({ quantity: 1.5 }), aLine({ price: null })];
    const [, ...ordered] = mapTopic('orders/create', anOrder({ line_items: lines })).entries;
    expect(ordered).toMatchObject([
      {
        entry: { properties: { ItemPrice: 'dear' } },
        warnings: [{ code: 'unreadable_amount', pointer: '/line_items/0/price' }],
      },
      { warnings: [{ code: 'unreadable_amount', pointer: '/line_items/1/quantity' }] },
      { warnings: [{ code: 'no_amount', pointer: '/line_items/2/price' }] },
    ]);
    for (const { entry } of ordered) expect(entry).not.toHaveProperty('value');
  });

  it('is the exact sum of subtotal and shipping', () => {
    const total_shipping_price_set = { shop_money: { amount: '0.2' } };
    const order = anOrder({ subtotal_price: '0.1', total_shipping_price_set });
    expect(
      entriesOf('orders/create', order, {
        orderValue: 'subtotal_and_shipping',
      })[0]?.value,
    ).toBe(0.3);
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

describe('the state of an order', () => {
  it('produces Fulfilled Order at the time of the newest fulfilment that is not cancelled', () => {
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

  it('contains the tracking numbers', () => {
    const tracking = { tracking_company: 'UPS', tracking_number: '1Z2345' };
    const order = anOrder({ fulfillments: [{ id: 31, ...tracking }] });
    for (const topic of ['orders/fulfilled', 'orders/partially_fulfilled']) {
      expect(entriesOf(topic, order)).toMatchObject([
        { properties: { TrackingCompany: 'UPS', TrackingNumber: '1Z2345' } },
      ]);
    }
  });

  it('produces Fulfilled Partial Order with the items of each fulfilment', () => {
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

  it('produces Cancelled Order with the reason', () => {
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
    'produces an event without absent fields: %s',
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

const nobody = {
  email: null,
  contact_email: null,
  phone: null,
  customer: null,
  shipping_address: null,
};

describe('the buyer of an order', () => {
  const buyerOf = (overrides: Readonly<Record<string, unknown>>) =>
    mapTopic('orders/create', anOrder({ ...nobody, ...overrides })).people[0]?.person;

  const ada = 'ada@klaviyo-demo.com';
  const till = { id: 42, email: 'till@klaviyo-demo.com', phone: '+442071838750' };

  it.each([
    [{ email: 'a@klaviyo-demo.com', contact_email: 'b@klaviyo-demo.com' }, 'a@klaviyo-demo.com'],
    [{ email: '', contact_email: 'b@klaviyo-demo.com' }, 'b@klaviyo-demo.com'],
    [{ email: 'n/a', contact_email: 'b@klaviyo-demo.com' }, 'b@klaviyo-demo.com'],
    [{ email: 'n/a' }, 'n/a'],
    [{ customer: { email: 'c@klaviyo-demo.com' } }, 'c@klaviyo-demo.com'],
  ])('has the first e-mail address of the order: %j', (overrides, email) => {
    expect(buyerOf(overrides)).toEqual({ email });
  });

  it.each([
    ['has the same address', { id: 42, email: ada }, { email: ada, distinct_id: '42' }],
    [
      'has another spelling of it',
      { id: 42, email: ' Ada@Klaviyo-Demo.com' },
      { email: ada, distinct_id: '42' },
    ],
    ['has no address', { id: 42, email: null }, { email: ada }],
    ['has a number and no address', { id: 42, phone: '+442071838750' }, { email: ada }],
    ['has another address', till, { email: ada }],
  ])(
    'with an e-mail address, under a customer that %s, is identified only by the address',
    (_what, customer, expected) => {
      expect(buyerOf({ email: ada, customer })).toEqual(expected);
    },
  );

  it.each(['n/a', 'none', 'ada at home'])(
    'is the customer if the order has %s as its address, which is kept as a property',
    (email) => {
      const customer = { id: 42, email: ada };
      const { entries, people } = mapTopic(
        'orders/create',
        anOrder({ ...nobody, email, customer }),
      );
      expect(people).toMatchObject([{ person: { email: ada, distinct_id: '42' } }]);
      expect(entries[0]).toMatchObject({
        entry: { email: ada, distinct_id: '42', properties: { email_invalid: email } },
        warnings: [{ code: 'email_unusable', pointer: '/email' }],
      });
    },
  );

  it('has the number of the order and not that of a customer with another address', () => {
    const order = { email: ada, phone: '+16175551212', customer: till };
    expect(buyerOf(order)).toEqual({ email: ada, phone_number: '+16175551212' });
  });

  it('has the number of the customer in every order', () => {
    const customer = { ...till, email: ada };
    const expected = { email: ada, phone_number: '+442071838750', distinct_id: '42' };
    expect(buyerOf({ email: ada, phone: '+16175551212', customer })).toEqual(expected);
    expect(buyerOf({ email: ada, phone: null, customer })).toEqual(expected);
  });

  it.each([
    [
      'the customer if the number is the same',
      { ...till, email: ada, phone: '+16175551212' },
      { email: ada, phone_number: '+16175551212', distinct_id: '42' },
    ],
    ['another than a customer with neither', { id: 42 }, { phone_number: '+16175551212' }],
    ['another than a customer with another number', till, { phone_number: '+16175551212' }],
    [
      'the customer without the number if the customer has only an address',
      { id: 42, email: ada },
      { email: ada, distinct_id: '42' },
    ],
  ])('without an e-mail address and with a number is %s', (_what, customer, expected) => {
    expect(buyerOf({ phone: '+1 617-555-1212', customer })).toEqual(
      'phone_number' in expected && !('email' in expected)
        ? { ...expected, phone_number: '+1 617-555-1212' }
        : expected,
    );
  });

  it.each([
    ['an e-mail address', { email: ada }, { email: ada }],
    ['a customer', { customer: { id: 42 } }, { distinct_id: '42' }],
    ['a number', { phone: '+442071838750' }, { phone_number: '+442071838750' }],
  ])('does not have the numbers of addresses if there is %s', (_what, named, expected) => {
    const addresses = { billing_address: anAddress(), shipping_address: anAddress() };
    expect(buyerOf({ ...named, ...addresses })).toEqual(expected);
  });

  it.each([
    [{ billing_address: anAddress() }, '+16175551212'],
    [
      { billing_address: anAddress(), shipping_address: { phone: '+442071838750' } },
      '+16175551212',
    ],
    [
      { shipping_address: anAddress({ phone: '020 7183 8750', country_code: 'GB' }) },
      '+442071838750',
    ],
    [
      { billing_address: anAddress({ phone: null }), shipping_address: anAddress() },
      '+16175551212',
    ],
  ])(
    'is identified by the phone of an address if there is no other identifier: %j',
    (overrides, phone) => {
      expect(buyerOf(overrides)).toEqual({ phone_number: phone });
    },
  );

  it.each([
    [
      'the recipient of a gift',
      {
        billing_address: anAddress({ phone: null, first_name: 'Ruth' }),
        shipping_address: anAddress(),
      },
    ],
    ['a number that is none', { shipping_address: { phone: 'by pigeon', country_code: 'US' } }],
    ['an address of the customer', { customer: { default_address: anAddress() } }],
  ])('is not %s', (_what, overrides) => {
    expect(buyerOf(overrides)).toBeUndefined();
  });

  it.each([
    'orders/create',
    'orders/updated',
    'orders/paid',
    'orders/cancelled',
    'orders/new_topic',
  ])('is kept by %s', (topic) => {
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

describe('an order without a buyer', () => {
  it.each(['orders/create', 'orders/fulfilled', 'orders/partially_fulfilled', 'orders/cancelled'])(
    'is skipped with all its parts: %s',
    (topic) => {
      const lines = [aLine(), aLine({ id: 502 }), aLine({ id: 503 })];
      const order = anOrder({ ...nobody, email: '', source_name: 'pos', line_items: lines });
      const { entries, skipped, people } = mapTopic(topic, order);
      expect([entries, skipped, people]).toEqual([[], [{ reason: 'anonymous' }], []]);
    },
  );

  it('is identified by the id of the customer if the app may not see more', () => {
    const order = anOrder({ ...nobody, customer: { id: 42, default_address: { id: 7 } } });
    expect(entriesOf('orders/create', order)).toMatchObject([
      { event_name: 'Placed Order', distinct_id: '42' },
      { event_name: 'Ordered Product', distinct_id: '42' },
    ]);
  });

  it('is looked up if the webhook was set up without the fields of a person', () => {
    const bare = '{"id":1001,"total_price":"5.00","currency":"EUR"}';
    expect(mapTopic('orders/create', bare).entries).toMatchObject([
      { personKeys: [`order:${shop}:1001`] },
    ]);
    expect(sentOf('orders/create', bare)).toEqual(['unknown_person']);
  });
});
