import { describe, expect, it } from 'vitest';
import { parseJson } from '../../../src/json/json.js';
import { aBilling, aWooCustomer, aWooLine, aWooOrder, wooShop } from '../../support/woocommerce.js';
import { mapWooWebhook } from '../../../src/sources/woocommerce/map.js';
import type { WooRules } from '../../../src/sources/woocommerce/payload.js';
import fc from 'fast-check';

const rules: WooRules = { orderValue: 'total', hasCustomerIds: false, customerMeta: [] };

function map(topic: string, payload: unknown, own: Partial<WooRules> = {}) {
  const parsed = parseJson(JSON.stringify(payload));
  if (!parsed.ok) throw new Error(parsed.issue.detail);
  return mapWooWebhook({
    topic,
    shopUrl: wooShop,
    body: parsed.value,
    rules: { ...rules, ...own },
  });
}

const entriesOf = (payload: unknown, own?: Partial<WooRules>) =>
  map('order.updated', payload, own).entries.map(({ entry }) => entry);

const metricsOf = (payload: unknown) => entriesOf(payload).map((entry) => entry.event_name);
const find = (payload: unknown, metric: string, own?: Partial<WooRules>) =>
  entriesOf(payload, own).find((entry) => entry.event_name === metric);

const unpaid = { date_paid: null, date_paid_gmt: null };

describe('the events of a WooCommerce order', () => {
  it('are a Placed Order and an Ordered Product for each line, with the names that Klaviyo documents', () => {
    const [placed, product, ...others] = entriesOf(aWooOrder());
    expect(others).toEqual([]);
    expect(placed).toEqual({
      event_name: 'Placed Order',
      event_time: '2026-01-05T15:00:02.000Z',
      insert_id: expect.stringMatching(/^woocommerce:[0-9a-f]{16}:727$/) as string,
      email: 'ada@klaviyo-demo.com',
      phone_number: '+16175551212',
      value: 16.56,
      currency: 'EUR',
      total_amount: 16.56,
      order_id: '727',
      properties: {
        OrderId: '727',
        'Order Number': '727',
        'Order Status': 'processing',
        'Discount Codes': ['winter'],
        'Total Discounts': 0.6,
        'Payment Method': 'Card',
        'Source Name': 'checkout',
        BillingAddress: {
          FirstName: 'Ada',
          LastName: 'Lovelace',
          Address1: '12 Main St',
          City: 'Boston',
          RegionCode: 'MA',
          CountryCode: 'US',
          Zip: '02110',
          Phone: '(617) 555-1212',
        },
        ShippingAddress: {
          FirstName: 'Charles',
          LastName: 'Lovelace',
          Address1: '12 Main St',
          City: 'Boston',
          RegionCode: 'MA',
          CountryCode: 'US',
          Zip: '02110',
          Phone: '(617) 555-3434',
        },
        ItemNames: ['Woo Single #1'],
        'Item Count': 1,
        Items: [
          {
            ProductID: '93',
            SKU: 'WOO-1',
            ProductName: 'Woo Single #1',
            Quantity: 2,
            ItemPrice: 3,
            RowTotal: 6,
            ImageURL: 'https://shop.klaviyo-demo.com/woo-1.jpg',
          },
        ],
      },
    });
    expect(product).toMatchObject({
      event_name: 'Ordered Product',
      event_time: '2026-01-05T15:00:02.000Z',
      insert_id: `${String(placed?.insert_id)}:315`,
      email: 'ada@klaviyo-demo.com',
      value: 6,
      currency: 'EUR',
      order_id: '727',
      properties: { OrderId: '727', ProductID: '93', Quantity: 2, ItemPrice: 3, RowTotal: 6 },
    });
  });

  it.each([
    ['pending', unpaid, []],
    ['checkout-draft', unpaid, []],
    ['auto-draft', unpaid, []],
    ['processing', unpaid, ['Placed Order', 'Ordered Product']],
    ['wc-processing', unpaid, ['Placed Order', 'Ordered Product']],
    ['on-hold', unpaid, ['Placed Order', 'Ordered Product']],
    ['completed', {}, ['Placed Order', 'Ordered Product', 'Fulfilled Order']],
    ['shipped', {}, ['Placed Order', 'Ordered Product']],
    ['cancelled', {}, ['Placed Order', 'Ordered Product', 'Cancelled Order']],
    ['cancelled', unpaid, ['Cancelled Order']],
    ['failed', unpaid, ['Failed Payment']],
    ['refunded', {}, ['Placed Order', 'Ordered Product']],
  ])('follow its state, whichever webhook delivers it: %s %j', (status, paid, metrics) => {
    expect(metricsOf(aWooOrder({ status, ...paid }))).toEqual(metrics);
  });

  it('are absent for an order that is not placed, which is counted as skipped', () => {
    const { entries, skipped } = map('order.created', aWooOrder({ status: 'pending', ...unpaid }));
    expect([entries, skipped]).toEqual([[], [{ id: '727', reason: 'not_placed' }]]);
  });

  it('have the same ids in each state and under each topic, and other ids in another shop', () => {
    const idsOf = (topic: string, payload: unknown) =>
      map(topic, payload).entries.map(({ entry }) => entry.insert_id);
    const created = idsOf('order.created', aWooOrder());
    expect(idsOf('order.updated', aWooOrder({ status: 'completed' })).slice(0, 2)).toEqual(created);
    expect(
      idsOf('order.restored', aWooOrder({ date_modified_gmt: '2026-03-01T00:00:00' })),
    ).toEqual(created);
    const other = idsOf('order.created', aWooOrder({ order_key: 'wc_order_aaaaaaaaaaa' }));
    expect(other.filter((id) => created.includes(id))).toEqual([]);
    expect(JSON.stringify(created)).not.toContain('wc_order_');
  });

  it('take their times from the fields in UTC, whatever the time zone of the shop', () => {
    const completed = aWooOrder({
      status: 'completed',
      date_completed: '2026-01-07T03:00:00',
      date_completed_gmt: '2026-01-07T08:00:00',
    });
    expect(find(completed, 'Fulfilled Order')?.event_time).toBe('2026-01-07T08:00:00.000Z');
    const local = aWooOrder({ date_created_gmt: undefined });
    expect(map('order.created', local).entries[0]).toMatchObject({
      entry: { properties: { date_created: '2026-01-05T10:00:02' } },
      warnings: [{ code: 'no_time_zone', pointer: '/date_created' }],
    });
    expect(find(local, 'Placed Order')).not.toHaveProperty('event_time');
    const odd = map('order.created', aWooOrder({ date_created_gmt: 'yesterday' }));
    expect(odd.entries[0]).toMatchObject({
      entry: { properties: { date_created_gmt: 'yesterday' } },
      warnings: [{ code: 'unreadable_time', pointer: '/date_created_gmt' }],
    });
  });

  it('have the configured value: the total, or goods after discounts with shipping', () => {
    expect(
      find(aWooOrder(), 'Placed Order', { orderValue: 'subtotal_and_shipping' }),
    ).toMatchObject({ value: 15.4, total_amount: 16.56 });
    const odd = aWooOrder({ line_items: [aWooLine({ total: 'free' })] });
    const [placed] = map('order.updated', odd, { orderValue: 'subtotal_and_shipping' }).entries;
    expect(placed?.entry).not.toHaveProperty('value');
    expect(placed?.warnings).toMatchObject([{ code: 'unreadable_amount' }]);
  });

  it('have no value if the total is unreadable, and keep its text', () => {
    const [placed] = map('order.created', aWooOrder({ total: '1.299', currency: 'EUR' })).entries;
    expect(placed?.entry).not.toHaveProperty('value');
    expect(placed).toMatchObject({
      entry: { currency: 'EUR', properties: { value_invalid: '1.299' } },
      warnings: [{ code: 'unreadable_amount', pointer: '/total' }],
    });
    const [bitcoin] = map('order.created', aWooOrder({ currency: 'BTC' })).entries;
    expect(bitcoin).toMatchObject({
      entry: { value: 16.56, properties: { currency_invalid: 'BTC' } },
      warnings: [{ code: 'unreadable_currency', pointer: '/currency' }],
    });
  });

  it('have prices with tax if the shop enters its prices with tax', () => {
    expect(find(aWooOrder({ prices_include_tax: true }), 'Ordered Product')).toMatchObject({
      value: 6.45,
      properties: { ItemPrice: 3.225, RowTotal: 6.45 },
    });
  });

  it('do not use the id of a deleted product', () => {
    const deleted = aWooOrder({ line_items: [aWooLine({ product_id: 0, variation_id: 0 })] });
    expect(find(deleted, 'Ordered Product')?.properties).not.toHaveProperty('ProductID');
    const variant = aWooOrder({ line_items: [aWooLine({ variation_id: 94 })] });
    expect(find(variant, 'Ordered Product')?.properties).toMatchObject({ VariantID: '94' });
  });

  it('count a cancellation as lost revenue only if the order was revenue', () => {
    const status = 'cancelled';
    expect(find(aWooOrder({ status }), 'Cancelled Order')).toMatchObject({ value: 16.56 });
    const offline = aWooOrder({ status, ...unpaid, payment_method: 'bacs' });
    expect(find(offline, 'Cancelled Order')).toMatchObject({ value: 16.56 });
    const never = find(aWooOrder({ status, ...unpaid }), 'Cancelled Order');
    expect(never).not.toHaveProperty('value');
    expect(never).toMatchObject({ properties: { Amount: 16.56, Currency: 'EUR' } });
    expect(find(aWooOrder({ status: 'failed', ...unpaid }), 'Failed Payment')).not.toHaveProperty(
      'value',
    );
  });

  it('are a Refunded Order with the refunded amount for each refund', () => {
    const refunds = [
      { id: 726, reason: 'too small', total: '-10.00' },
      { id: 724, reason: '', total: '-1.05' },
    ];
    const refunded = entriesOf(aWooOrder({ refunds })).filter(
      ({ event_name: name }) => name === 'Refunded Order',
    );
    expect(refunded).toMatchObject([
      {
        event_time: '2026-01-05T15:05:08.000Z',
        insert_id: expect.stringMatching(/:727:refund-726$/) as string,
        value: 10,
        currency: 'EUR',
        order_id: '727',
        properties: { RefundId: '726', Reason: 'too small' },
      },
      { insert_id: expect.stringMatching(/:727:refund-724$/) as string, value: 1.05 },
    ]);
  });
});

describe('the person of a WooCommerce order', () => {
  it('is the billing contact, without the id of the account and the phone number of the recipient', () => {
    for (const entry of entriesOf(aWooOrder())) {
      expect(entry).toMatchObject({ email: 'ada@klaviyo-demo.com', phone_number: '+16175551212' });
      expect(entry).not.toHaveProperty('distinct_id');
    }
  });

  it('has an invalid phone number on the event of the order alone, so that it is reported once', () => {
    const odd = aWooOrder({ billing: aBilling({ phone: '(555) 555-5555' }) });
    expect(entriesOf(odd).map((entry) => entry.phone_number)).toEqual([
      '(555) 555-5555',
      undefined,
    ]);
    const noEmail = aWooOrder({ billing: aBilling({ email: '', phone: '(555) 555-5555' }) });
    expect(entriesOf(noEmail)[1]).toMatchObject({ phone_number: '(555) 555-5555' });
  });

  it('is the account of the customer if the billing address identifies no person', () => {
    const nobody = aWooOrder({ billing: aBilling({ email: '', phone: '' }) });
    const [placed] = map('order.created', nobody).entries;
    expect(placed).toMatchObject({ personKeys: ['customer:shop.klaviyo-demo.com:26'] });
    expect(placed).not.toHaveProperty('fallback');
    const [known] = map('order.created', nobody, { hasCustomerIds: true }).entries;
    expect(known).toMatchObject({ fallback: { distinct_id: '26' } });
    expect(map('customer.created', aWooCustomer()).people).toEqual([
      {
        kind: 'customer',
        key: 'customer:shop.klaviyo-demo.com:26',
        person: { email: 'ada@klaviyo-demo.com' },
      },
    ]);
  });

  it('is absent if a guest left no contact, which is counted as one skip', () => {
    const guest = aWooOrder({ customer_id: 0, billing: aBilling({ email: '', phone: '' }) });
    const { entries, skipped } = map('order.created', guest, { hasCustomerIds: true });
    expect([entries, skipped]).toEqual([[], [{ id: '727', reason: 'anonymous' }]]);
  });

  it('is identified within the shop of the signed links, not of the header', () => {
    const elsewhere = mapWooWebhook({
      topic: 'order.created',
      shopUrl: 'https://forged.example.com/',
      body: aWooOrder({ billing: {} }),
      rules,
    });
    expect(elsewhere.entries[0]?.personKeys).toEqual(['customer:shop.klaviyo-demo.com:26']);
  });
});

describe('a WooCommerce customer', () => {
  it('becomes a profile of the account', () => {
    expect(
      map('customer.updated', aWooCustomer(), { customerMeta: ['loyalty_tier'] }),
    ).toMatchObject({
      entries: [
        {
          lane: 'profiles',
          entry: {
            email: 'ada@klaviyo-demo.com',
            phone_number: '+16175551212',
            first_name: 'Ada',
            last_name: 'Lovelace',
            organization: 'Analytical Engines',
            location: {
              address1: '12 Main St',
              city: 'Boston',
              region: 'MA',
              zip: '02110',
              country: 'US',
            },
            properties: {
              'WooCommerce Customer Id': '26',
              'WooCommerce Role': 'customer',
              'WooCommerce Paying Customer': true,
              loyalty_tier: 'gold',
            },
          },
        },
      ],
      skipped: [],
    });
    expect(JSON.stringify(map('customer.updated', aWooCustomer()))).not.toContain('do-not-send');
  });

  it('does not use phone number and address of a billing contact with another e-mail address', () => {
    const other = aWooCustomer({ billing: aBilling({ email: 'accounting@klaviyo-demo.com' }) });
    const [profile] = map('customer.updated', other).entries;
    expect(profile?.entry).not.toHaveProperty('phone_number');
    expect(profile?.entry).not.toHaveProperty('location');
  });

  it('has its id as external_id only if WOOCOMMERCE_CUSTOMER_ID is external_id', () => {
    const [plain] = map('customer.created', aWooCustomer()).entries;
    expect(plain?.entry).not.toHaveProperty('distinct_id');
    const [joined] = map('customer.created', aWooCustomer(), { hasCustomerIds: true }).entries;
    expect(joined?.entry).toMatchObject({ distinct_id: '26', email: 'ada@klaviyo-demo.com' });
  });
});

describe('a WooCommerce webhook without anything to map is counted as skipped', () => {
  const error = { code: 'woocommerce_rest_cannot_view', message: '…', data: { status: 403 } };
  it.each([
    ['order.deleted', { id: 727 }, 'deleted'],
    ['customer.deleted', { id: 26 }, 'deleted'],
    ['product.updated', { id: 1, name: 'Shirt' }, 'unmapped'],
    ['coupon.created', { id: 1 }, 'unmapped'],
    ['subscription.updated', aWooOrder(), 'unmapped'],
    [
      'action.woocommerce_add_to_cart',
      { action: 'woocommerce_add_to_cart', arg: 'a1' },
      'unmapped',
    ],
    ['order.updated', error, 'shop_error'],
    ['order.created', { order: { id: 52, total: '0.00' } }, 'legacy_version'],
    ['order.updated', [], 'no_payload'],
    ['order.updated', null, 'no_payload'],
    ['customer.created', { id: 3, email: '' }, 'anonymous'],
  ])('%s %j', (topic, payload, reason) => {
    const { entries, skipped } = map(topic, payload);
    expect([entries, skipped]).toMatchObject([[], [{ reason }]]);
  });
});

it('the map of WooCommerce never throws, and each order ends as events or as a skip', () => {
  const member = fc.constantFrom(...Object.keys(aWooOrder()), ...Object.keys(aWooCustomer()));
  const topic = fc.constantFrom('order.created', 'order.updated', 'customer.updated', 'x.y');
  const changed = fc.dictionary(member, fc.jsonValue(), { maxKeys: 6 });
  fc.assert(
    fc.property(topic, changed, fc.boolean(), (name, members, isBare) => {
      const payload = isBare ? members : { ...aWooOrder(), ...aWooCustomer(), ...members };
      const { entries, skipped } = map(name, payload);
      expect(entries.length + skipped.length).toBeGreaterThan(0);
    }),
  );
});
