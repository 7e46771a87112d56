import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isJsonObject } from '../../../src/json/json.js';
import { mapSegmentRequest } from '../../../src/sources/segment/map.js';
import { segmentSettings } from '../../../src/sources/segment/settings.js';
import { compact } from '../../../src/sources/json.js';
import { receivedAt } from '../../ingest/fixture.js';

function entriesOf(event: string, properties: object, env: Record<string, string> = {}) {
  const value = { type: 'track', event, userId: '42', messageId: 'm-1', properties };
  const settings = z.object(segmentSettings).parse(env);
  const steps = mapSegmentRequest({ kind: 'track', value, issues: [], receivedAt, settings });
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  if (!step.value.ok) throw new Error(step.value.detail);
  return step.value.post.entries.map(({ entry, warnings = [] }) => ({
    ...compact({ value: entry.value, currency: entry.currency, insert_id: entry.insert_id }),
    order_id: entry.order_id,
    name: entry.event_name,
    properties: isJsonObject(entry.properties) ? entry.properties : {},
    codes: warnings.map(({ code, pointer }) => `${code} ${pointer}`),
  }));
}

/** The first product of Segment's specification of an order. */
const cap = {
  product_id: '507f1f77bcf86cd799439011',
  sku: '45790-32',
  name: 'Monopoly: 3rd Edition',
  price: '19',
  quantity: '2',
  category: 'Games',
  brand: 'Hasbro',
  variant: '200 pieces',
  url: 'https://shop.example.com/product/path',
  image_url: 'https://shop.example.com/product/path.jpg',
};
const item = {
  ProductID: '507f1f77bcf86cd799439011',
  SKU: '45790-32',
  ProductName: 'Monopoly: 3rd Edition',
  'Variant Name': '200 pieces',
  ProductURL: 'https://shop.example.com/product/path',
  ImageURL: 'https://shop.example.com/product/path.jpg',
  Categories: ['Games'],
  Brand: 'Hasbro',
  Quantity: 2,
  ItemPrice: 19,
  RowTotal: 38,
};
const order = { order_id: 'o-1', revenue: 38, currency: 'USD', coupon: 'hasbros', discount: 2.5 };

describe("a call of the e-commerce specification becomes the metric of Klaviyo's stock flows", () => {
  it.each([
    ['Order Completed', 'Placed Order'],
    ['Completed Order', 'Placed Order'],
    ['order_completed', 'Placed Order'],
    ['Order Refunded', 'Refunded Order'],
    ['Order Cancelled', 'Cancelled Order'],
    ['Order Canceled', 'Cancelled Order'],
    ['Product Added', 'Added to Cart'],
    ['Added Product', 'Added to Cart'],
    ['Checkout Started', 'Started Checkout'],
    ['Product Viewed', 'Viewed Product'],
    ['Product Clicked', 'Product Clicked'],
    ['Order Updated', 'Order Updated'],
    ['Signed Up', 'Signed Up'],
  ])('%s: %s', (event, metric) => {
    expect(entriesOf(event, {}).map(({ name }) => name)).toEqual([metric]);
    expect(entriesOf(event, {}, { SEGMENT_ECOMMERCE: 'as-is' })).toMatchObject([{ name: event }]);
  });
});

it('a completed order has its products as Items and each as an Ordered Product, besides its own properties', () => {
  const properties = { ...order, products: [cap], note: { a: 1 } };
  const [placed, ordered, ...others] = entriesOf('Order Completed', properties);
  expect(others).toEqual([]);
  expect(placed).toMatchObject({ value: 38, currency: 'USD', order_id: 'o-1', codes: [] });
  expect(placed?.properties).toEqual({
    ...properties,
    OrderId: 'o-1',
    DiscountCode: 'hasbros',
    DiscountValue: 2.5,
    ItemNames: ['Monopoly: 3rd Edition'],
    Categories: ['Games'],
    Brands: ['Hasbro'],
    Items: [item],
  });
  const { Brand: brand, RowTotal: total, ...product } = item;
  expect(ordered).toMatchObject({
    name: 'Ordered Product',
    value: 38,
    currency: 'USD',
    order_id: 'o-1',
  });
  expect(ordered?.value).toBe(total);
  expect(ordered?.properties).toEqual({ OrderId: 'o-1', ...product, ProductBrand: brand });
});

it('a property of the call that has a name of Klaviyo is unchanged', () => {
  const [placed] = entriesOf('Order Completed', { ...order, products: [cap], Items: 'mine' });
  expect(placed?.properties.Items).toBe('mine');
});

it('a product added to the cart has the names of Added to Cart', () => {
  const [added] = entriesOf('Product Added', {
    ...cap,
    checkout_url: 'https://shop.example.com/c',
  });
  expect(added).toMatchObject({
    codes: [],
    properties: { ...cap, CheckoutURL: 'https://shop.example.com/c' },
  });
  expect(added).not.toHaveProperty('value');
  expect(added?.properties).toMatchObject({
    AddedItemProductName: 'Monopoly: 3rd Edition',
    AddedItemProductID: '507f1f77bcf86cd799439011',
    AddedItemSKU: '45790-32',
    AddedItemCategories: ['Games'],
    AddedItemImageURL: 'https://shop.example.com/product/path.jpg',
    AddedItemURL: 'https://shop.example.com/product/path',
    AddedItemPrice: 19,
    AddedItemQuantity: 2,
    ItemNames: ['Monopoly: 3rd Edition'],
    Items: [item],
  });
});

it('a viewed product has the names of Viewed Product', () => {
  const [viewed] = entriesOf('Product Viewed', { ...cap, compare_at_price: '25' });
  expect(viewed?.properties).toMatchObject({
    ProductName: 'Monopoly: 3rd Edition',
    ProductID: '507f1f77bcf86cd799439011',
    SKU: '45790-32',
    Categories: ['Games'],
    ImageURL: 'https://shop.example.com/product/path.jpg',
    URL: 'https://shop.example.com/product/path',
    Brand: 'Hasbro',
    Price: 19,
    CompareAtPrice: 25,
  });
});

it('a started checkout lists its items and has no value from a property other than revenue', () => {
  const [started] = entriesOf('Checkout Started', { order_id: 'o-1', value: 38, products: [cap] });
  expect(started).toMatchObject({ codes: [], properties: { OrderId: 'o-1', Items: [item] } });
  expect(started).not.toHaveProperty('value');
});

describe('an order produces one event and one revenue and', () => {
  const idsOf = (properties: object, event = 'Order Completed', env = {}) =>
    entriesOf(event, properties, env).map(({ insert_id: id }) => id);

  it.each([
    [{ order_id: 'o-1' }, 'o-1/Placed Order'],
    [{ orderId: 'o-1', checkout_id: 'c-1' }, 'o-1/Placed Order'],
    [{ order_id: 1001 }, '1001/Placed Order'],
    [{ id: 'o-1' }, 'o-1/Placed Order'],
    [{ checkout_id: 'c-1' }, 'checkout c-1/Placed Order'],
    [{}, 'm-1'],
    [{ order_id: ' ' }, 'm-1'],
  ])('has a unique id made of the id of the order in %j: %s', (properties, id) => {
    expect(idsOf(properties)).toEqual([id]);
    expect(idsOf(properties, 'completed order')).toEqual([id]);
  });

  it('replaces an order id that is too long by the same hash every time', () => {
    const [id] = idsOf({ order_id: 'o'.repeat(300) });
    expect(id).toMatch(/^[\w-]{43}$/);
    expect(idsOf({ order_id: 'o'.repeat(300) })).toEqual([id]);
  });

  it('uses messageId if SEGMENT_ORDER_IDS is false and for events that are not a completed order', () => {
    expect(idsOf(order, 'Order Completed', { SEGMENT_ORDER_IDS: 'false' })).toEqual(['m-1']);
    expect(idsOf(order, 'Order Refunded')).toEqual(['m-1']);
    expect(idsOf(order, 'Product Added')).toEqual(['m-1']);
  });

  it('gives each product its own id, which does not depend on the order of products', () => {
    const red = { ...cap, variant: 'red' };
    const ids = idsOf({ ...order, products: [cap, red, cap, { name: 'Gift' }] }).slice(1);
    expect(new Set(ids).size).toBe(4);
    const turned = idsOf({ ...order, products: [{ name: 'Gift' }, cap, cap, red] }).slice(1);
    expect(new Set(turned)).toEqual(new Set(ids));
  });

  it('names products by the call if the order has no id', () => {
    expect(idsOf({ products: [{ sku: 's' }] })).toEqual(['m-1', 'm-1/Ordered Product/s']);
  });
});

describe('prices and quantities of products', () => {
  const read = (product: object, others: object = { currency: 'USD' }) => {
    const [placed, ordered] = entriesOf('Order Completed', { ...others, products: [product] });
    return {
      codes: placed?.codes,
      ordered: ordered?.codes,
      value: ordered?.value,
      currency: ordered?.currency,
    };
  };
  const price = '/properties/products/0/price';

  it.each([
    [{ price: 19.99, quantity: 3 }, 59.97],
    [{ price: '$1,299.00', quantity: ' 2 ' }, 2598],
    [{ price: 19 }, 19],
    [{ price: 4, quantity: 1.5 }, 6],
    [{ price: 0, quantity: 1 }, 0],
    [{ quantity: 2 }, undefined],
  ])('%j have the total %d', (product, value) => {
    expect(read(product)).toMatchObject({ codes: [], ordered: [], value });
  });

  it('give a warning and no value for an unreadable price', () => {
    expect(read({ price: 'on request' })).toEqual({
      codes: [`unreadable_amount ${price}`],
      ordered: [],
    });
  });

  it('give a warning and no value for an unreadable quantity', () => {
    const codes = ['unreadable_quantity /properties/products/0/quantity'];
    expect(read({ price: 5, quantity: 'two' })).toEqual({ codes, ordered: [] });
  });

  it('give a warning for a price without a currency', () => {
    expect(read({ price: 5 }, {})).toEqual({
      codes: [],
      ordered: [`no_currency ${price}`],
      value: 5,
    });
    expect(read({ price: '5 €' }, {})).toEqual({
      codes: [],
      ordered: [],
      value: 5,
      currency: 'EUR',
    });
  });

  it('give a warning for a list member that is not a product', () => {
    const codes = ['unreadable_product /properties/products'];
    expect(entriesOf('Order Completed', { products: ['cap', cap] })).toMatchObject([{ codes }, {}]);
    expect(entriesOf('Order Completed', { products: '[{}]' })).toMatchObject([{ codes }]);
  });
});

it('a call with too many properties for those of Klaviyo keeps its own, with a warning', () => {
  const many = Object.fromEntries(Array.from({ length: 289 }, (_, at) => [`p${at}`, at]));
  const [viewed] = entriesOf('Product Viewed', { ...many, name: 'Cap', sku: 's' });
  expect(viewed).toMatchObject({
    name: 'Viewed Product',
    codes: ['too_many_properties /properties'],
  });
  expect(Object.keys(viewed?.properties ?? {})).toHaveLength(291);
});
