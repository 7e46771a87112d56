import type { Numeral } from '../../ingest/schema.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { isJsonObject, type JsonObject } from '../../json/json.js';
import { decimalToNumber, multiplyDecimals, parseDecimal } from '../decimal.js';
import { asId, asList, asText, compact, distinct } from '../json.js';
import { readAmount, readCurrency, type LocatedValue } from '../money.js';
import { createFieldFinder, foldSpelling, type FieldFinder } from './spellings.js';

/**
 * Maps the e-commerce specification of Segment and RudderStack to the metrics and properties that Klaviyo
 * documents for shops without an integration, and that its built-in flows use. Properties of the call
 * stay as they are; Klaviyo's properties are added.
 */

type Stage = 'viewed' | 'added' | 'checkout' | 'placed' | 'after';

/** Metrics by the folded names of both versions of the specification. */
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
  ).flatMap(([metric, stage, names]) =>
    names.map((name) => [foldSpelling(name), { metric, stage }]),
  ),
);

/** Maximum names directly under `properties`. Some more remain for properties that the relay adds. */
const maxProperties = 290;

export type CommerceEvent = {
  readonly metric: string;
  readonly properties: JsonObject;
  readonly warnings: readonly SourceWarning[];
  /** The products of a completed order. Empty for other events. */
  readonly ordered: readonly OrderedProduct[];
};

/** The event of one product of an order. */
export type OrderedProduct = {
  /** Unique among the products of the order. */
  readonly key: string;
  readonly properties: JsonObject;
  readonly value: Numeral | undefined;
  readonly currency: string | undefined;
  readonly warnings: readonly SourceWarning[];
};

export type Order = {
  readonly properties: JsonObject;
  readonly fields: FieldFinder;
  readonly orderId: unknown;
};

/** Maps an event. Null if its name is not in the specification, or if Klaviyo has no metric for it. */
export function mapCommerceEvent(event: string, order: Order): CommerceEvent | null {
  const found = metrics.get(foldSpelling(event));
  if (found === undefined) return null;
  const { metric, stage } = found;
  const { properties, fields } = order;
  const { products, warnings } = readProducts(order);
  const one = readProduct(fields, fields);
  const isOne = stage === 'viewed' || stage === 'added';
  if (isOne) warnings.push(...one.warnings);
  const added = compact({
    ...(stage === 'viewed' && describeViewedProduct(one, fields)),
    ...(stage === 'added' && describeAddedProduct(one)),
    ...(stage === 'added' &&
      describeItems(products.length > 0 ? products : [one].filter(isIdentifiedProduct))),
    ...(!isOne && describeItems(products)),
    ...(!isOne && describeOrderFields(stage, order)),
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
    ordered: stage === 'placed' ? listOrderedProducts(products, order) : [],
  };
}

function readProducts({ properties, fields }: Order) {
  const listed = asList(properties.products).map((each, at) =>
    isJsonObject(each)
      ? readProduct(createFieldFinder(each, ['properties', 'products', at]), fields)
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

type ReadProduct = {
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
  /** Price times quantity. The quantity is 1 if none is given. */
  readonly rowTotal: number | undefined;
  /** The currency of the price, given by the product, by the call, or in the price itself. */
  readonly currency: string | undefined;
  readonly pricePointer: string;
  readonly warnings: readonly SourceWarning[];
};

function readProduct(fields: FieldFinder, call: FieldFinder): ReadProduct {
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
    rowTotal: quantity.isUnreadable ? undefined : multiplyPrice(amount, quantity.value ?? 1),
    currency: code ?? (price.kind === 'read' ? price.currency : undefined),
    pricePointer: given.pointer,
    warnings,
  };
}

function readQuantity({ value, pointer }: LocatedValue) {
  const decimal = parseDecimal(typeof value === 'string' ? value.trim() : value);
  const isUnreadable = value !== undefined && decimal === undefined;
  const detail = 'is no number; it stays as it is, and the row has no total';
  return {
    value: decimal && decimalToNumber(decimal),
    isUnreadable,
    warnings: isUnreadable ? [{ code: 'unreadable_quantity', pointer, detail }] : [],
  };
}

function multiplyPrice(price: Numeral | undefined, quantity: number): number | undefined {
  const [one, count] = [parseDecimal(price), parseDecimal(quantity)];
  return one && count && decimalToNumber(multiplyDecimals(one, count));
}

function describeViewedProduct(each: ReadProduct, fields: FieldFinder): JsonObject {
  const compareAt = readAmount(fields.find('compare_at_price').value, each.currency);
  return {
    ...describeCallProduct(each),
    Categories: unlessEmpty(each.categories),
    URL: each.url,
    Brand: each.brand,
    Price: each.price,
    CompareAtPrice: compareAt.kind === 'read' ? compareAt.amount : undefined,
  };
}

function describeAddedProduct(each: ReadProduct): JsonObject {
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

function describeCallProduct(each: ReadProduct): JsonObject {
  return {
    ProductID: each.id,
    SKU: each.sku,
    ProductName: each.name,
    'Variant Name': each.variant,
    ImageURL: each.imageUrl,
  };
}

function isIdentifiedProduct({ id, sku, name }: ReadProduct): boolean {
  return id !== undefined || sku !== undefined || name !== undefined;
}

function describeItems(products: readonly ReadProduct[]): JsonObject {
  if (products.length === 0) return {};
  return {
    ItemNames: distinct(products.flatMap(({ name }) => name ?? [])),
    Categories: unlessEmpty(distinct(products.flatMap(({ categories }) => categories))),
    Brands: unlessEmpty(distinct(products.flatMap(({ brand }) => brand ?? []))),
    Items: products.map((each) =>
      compact({
        ...describeCallProduct(each),
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

function describeOrderFields(stage: Stage, { fields, orderId }: Order): JsonObject {
  return {
    OrderId: asId(orderId),
    ...(stage === 'placed' && {
      DiscountCode: asText(fields.find('coupon').value),
      DiscountValue: readGivenAmount(fields.find('discount')),
    }),
    ...(stage === 'after' && { Reason: asText(fields.find('reason').value) }),
  };
}

function readGivenAmount({ value }: LocatedValue): Numeral | undefined {
  const read = readAmount(value);
  return read.kind === 'read' ? read.amount : undefined;
}

/** Lists the products of an order. Lines of the same product get numbered keys. */
function listOrderedProducts(
  products: readonly ReadProduct[],
  { orderId }: Order,
): readonly OrderedProduct[] {
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
        ...describeCallProduct(each),
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

function unlessEmpty<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}
