import { isJsonObject, type JsonObject } from '../../json/json.js';
import type { Numeral } from '../../ingest/schema.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { product, toDecimal, toNumber } from '../decimal.js';
import { asId, asList, asText, compact } from '../json.js';
import { readAmount, readCurrency, type Placed } from '../money.js';
import { fold, readFields, type Fields } from './fields.js';

/**
 * The e-commerce specification of Segment and RudderStack by the names of metrics and properties that
 * Klaviyo documents for shops without an integration of its own, and that its stock flows listen to.
 * All that the call itself says stays as it is: properties are only added.
 */

type Stage = 'viewed' | 'added' | 'checkout' | 'placed' | 'after';

/** By folded names, those of the first version of the specification included. */
const metrics: ReadonlyMap<string, { readonly metric: string; readonly stage: Stage }> = new Map(
  (
    [
      ['Viewed Product', 'viewed', ['Product Viewed', 'Viewed Product']],
      ['Added to Cart', 'added', ['Product Added', 'Added Product']],
      ['Started Checkout', 'checkout', ['Checkout Started', 'Started Checkout']],
      ['Placed Order', 'placed', ['Order Completed', 'Completed Order']],
      ['Refunded Order', 'after', ['Order Refunded', 'Refunded Order']],
      [
        'Cancelled Order',
        'after',
        ['Order Cancelled', 'Order Canceled', 'Cancelled Order', 'Canceled Order'],
      ],
    ] as const
  ).flatMap(([metric, stage, names]) => names.map((name) => [fold(name), { metric, stage }])),
);

/** Names directly under `properties`, at most, so that the relay's own ones still fit. */
const maxProperties = 290;

export type Commerce = {
  readonly metric: string;
  readonly properties: JsonObject;
  readonly warnings: readonly SourceWarning[];
  /** Of a completed order. */
  readonly ordered: readonly OrderedProduct[];
};

/** The event of one product of an order. */
export type OrderedProduct = {
  /** Tells it from the other products of its order. */
  readonly key: string;
  readonly properties: JsonObject;
  readonly value: Numeral | undefined;
  readonly currency: string | undefined;
  readonly warnings: readonly SourceWarning[];
};

export type Order = {
  readonly properties: JsonObject;
  readonly fields: Fields;
  readonly orderId: unknown;
};

/** Null where the name is none of the specification that Klaviyo has a name for. */
export function toCommerce(event: string, order: Order): Commerce | null {
  const found = metrics.get(fold(event));
  if (found === undefined) return null;
  const { metric, stage } = found;
  const { properties, fields } = order;
  const { products, warnings } = readProducts(order);
  const one = readProduct(fields, fields);
  const isOne = stage === 'viewed' || stage === 'added';
  if (isOne) warnings.push(...one.warnings);
  const added = compact({
    ...(stage === 'viewed' && toViewed(one, fields)),
    ...(stage === 'added' && toAdded(one)),
    ...(stage === 'added' && toItems(products.length > 0 ? products : [one].filter(isNamed))),
    ...(!isOne && toItems(products)),
    ...(!isOne && toOrder(stage, order)),
    CheckoutURL: asText(fields.find('checkout_url').value),
  });
  const all = { ...added, ...properties };
  const isTooMuch = Object.keys(all).length > maxProperties;
  if (isTooMuch) {
    const detail = `leaves no room for Klaviyo's names of products: there are more than ${maxProperties} with them`;
    warnings.push({ code: 'too_many_properties', pointer: '/properties', detail });
  }
  return {
    metric,
    properties: isTooMuch ? properties : all,
    warnings,
    ordered: stage === 'placed' ? toOrdered(products, order) : [],
  };
}

function readProducts({ properties, fields }: Order) {
  const listed = asList(properties.products).map((each, at) =>
    isJsonObject(each)
      ? readProduct(readFields(each, ['properties', 'products', at]), fields)
      : null,
  );
  const products = listed.filter((each) => each !== null);
  const warnings = products.flatMap((each) => each.warnings);
  const isNoList =
    fields.find('products').value !== undefined && !Array.isArray(properties.products);
  if (products.length < listed.length || isNoList) {
    const detail = 'is no list of objects; what is none is left out of Items';
    warnings.push({ code: 'unreadable_product', pointer: '/properties/products', detail });
  }
  return { products, warnings };
}

type Product = {
  readonly id: string | undefined;
  readonly sku: string | undefined;
  readonly name: string | undefined;
  readonly variant: string | undefined;
  readonly brand: string | undefined;
  readonly categories: readonly string[];
  readonly url: string | undefined;
  readonly imageUrl: string | undefined;
  readonly price: Numeral | undefined;
  readonly quantity: number | undefined;
  /** Price times quantity, of one where no quantity is given. */
  readonly rowTotal: number | undefined;
  /** Of the price: of the call, of the product, or in the price itself. */
  readonly currency: string | undefined;
  readonly pricePointer: string;
  readonly warnings: readonly SourceWarning[];
};

function readProduct(fields: Fields, call: Fields): Product {
  const given = fields.find('price');
  const beside = readCurrency(fields.find('currency').value).code;
  const code = beside ?? readCurrency(call.find('currency').value).code;
  const price = readAmount(given.value, code);
  const quantity = readQuantity(fields.find('quantity'));
  const warnings: SourceWarning[] = [...quantity.warnings];
  if (price.kind === 'unreadable') {
    const detail = `${price.detail}; it stays as it is, and there is no price for Klaviyo`;
    warnings.push({ code: 'unreadable_amount', pointer: given.pointer, detail });
  }
  const amount = price.kind === 'read' ? price.amount : undefined;
  const category = asText(fields.find('category').value);
  const categories = asList(fields.find('categories').value).flatMap((each) => asText(each) ?? []);
  return {
    id: asId(fields.find('product_id', 'id').value),
    sku: asId(fields.find('sku').value),
    name: asText(fields.find('name', 'title').value),
    variant: asText(fields.find('variant').value),
    brand: asText(fields.find('brand').value),
    categories: categories.length > 0 || category === undefined ? categories : [category],
    url: asText(fields.find('url', 'product_url').value),
    imageUrl: asText(fields.find('image_url', 'image').value),
    price: amount,
    quantity: quantity.value,
    rowTotal: quantity.isUnreadable ? undefined : toRowTotal(amount, quantity.value ?? 1),
    currency: code ?? (price.kind === 'read' ? price.currency : undefined),
    pricePointer: given.pointer,
    warnings,
  };
}

function readQuantity({ value, pointer }: Placed) {
  const decimal = toDecimal(typeof value === 'string' ? value.trim() : value);
  const isUnreadable = value !== undefined && decimal === undefined;
  const detail = 'is no number; it stays as it is, and the row has no total';
  return {
    value: decimal && toNumber(decimal),
    isUnreadable,
    warnings: isUnreadable ? [{ code: 'unreadable_quantity', pointer, detail }] : [],
  };
}

function toRowTotal(price: Numeral | undefined, quantity: number): number | undefined {
  const [one, count] = [toDecimal(price), toDecimal(quantity)];
  return one && count && toNumber(product(one, count));
}

function toViewed(each: Product, fields: Fields): JsonObject {
  const compareAt = readAmount(fields.find('compare_at_price').value, each.currency);
  return {
    ...toProduct(each),
    Categories: unlessEmpty(each.categories),
    URL: each.url,
    Brand: each.brand,
    Price: each.price,
    CompareAtPrice: compareAt.kind === 'read' ? compareAt.amount : undefined,
  };
}

function toAdded(each: Product): JsonObject {
  return {
    AddedItemProductName: each.name,
    AddedItemProductID: each.id,
    AddedItemSKU: each.sku,
    AddedItemCategories: unlessEmpty(each.categories),
    AddedItemImageURL: each.imageUrl,
    AddedItemURL: each.url,
    AddedItemPrice: each.price,
    AddedItemQuantity: each.quantity,
  };
}

function toProduct(each: Product): JsonObject {
  return {
    ProductID: each.id,
    SKU: each.sku,
    ProductName: each.name,
    'Variant Name': each.variant,
    ImageURL: each.imageUrl,
  };
}

function isNamed({ id, sku, name }: Product): boolean {
  return id !== undefined || sku !== undefined || name !== undefined;
}

function toItems(products: readonly Product[]): JsonObject {
  if (products.length === 0) return {};
  return {
    ItemNames: toDistinct(products.flatMap(({ name }) => name ?? [])),
    Categories: unlessEmpty(toDistinct(products.flatMap(({ categories }) => categories))),
    Brands: unlessEmpty(toDistinct(products.flatMap(({ brand }) => brand ?? []))),
    Items: products.map((each) =>
      compact({
        ...toProduct(each),
        ProductURL: each.url,
        Categories: unlessEmpty(each.categories),
        Brand: each.brand,
        Quantity: each.quantity,
        ItemPrice: each.price,
        RowTotal: each.rowTotal,
      }),
    ),
  };
}

function toOrder(stage: Stage, { fields, orderId }: Order): JsonObject {
  return {
    OrderId: asId(orderId),
    ...(stage === 'placed' && {
      DiscountCode: asText(fields.find('coupon').value),
      DiscountValue: toGivenAmount(fields.find('discount')),
    }),
    ...(stage === 'after' && { Reason: asText(fields.find('reason').value) }),
  };
}

function toGivenAmount({ value }: Placed): Numeral | undefined {
  const read = readAmount(value);
  return read.kind === 'read' ? read.amount : undefined;
}

/** Lines of one product are told apart by their number among those of the product. */
function toOrdered(products: readonly Product[], { orderId }: Order): readonly OrderedProduct[] {
  const counts = new Map<string, number>();
  return products.map((each) => {
    const name = [each.id, each.sku, each.variant].filter((part) => part !== undefined).join('/');
    const named = name === '' ? (each.name ?? '') : name;
    const count = (counts.get(named) ?? 0) + 1;
    counts.set(named, count);
    const hasNoCurrency = each.rowTotal !== undefined && each.currency === undefined;
    const detail = 'has no currency: Klaviyo counts the value in the currency of the account';
    return {
      key: count === 1 ? named : `${named}#${count}`,
      properties: compact({
        OrderId: asId(orderId),
        ...toProduct(each),
        ProductURL: each.url,
        Categories: unlessEmpty(each.categories),
        ProductBrand: each.brand,
        Quantity: each.quantity,
        ItemPrice: each.price,
      }),
      value: each.rowTotal,
      currency: each.currency,
      warnings: hasNoCurrency ? [{ code: 'no_currency', pointer: each.pricePointer, detail }] : [],
    };
  });
}

function toDistinct(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)];
}

function unlessEmpty<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}
