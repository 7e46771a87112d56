import type { SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { multiplyByCount, decimalToNumber } from '../decimal.js';
import { asObject, asText } from '../json.js';
import { readAmount } from '../money.js';
import { dropEmpty, asShopifyId, asObjects, asInteger } from './fields.js';
import { toAmountProperty, readExactAmount } from './money.js';

/**
 * Line items under the names Klaviyo documents for integrations of one's own (`ProductName`, `Items`,
 * …), and, for what those have no name for, the names of Klaviyo's Shopify integration (`Variant Name`).
 */

/** One line. `quantity` may be another than the line's own, where only a part is concerned. */
export function toLineItem(line: JsonObject, quantity: unknown = line.quantity): JsonObject {
  return dropEmpty({
    ...describeProduct(line),
    Quantity: asInteger(quantity),
    ItemPrice: toAmountProperty(line.price),
    RowTotal: computeLineTotal(line, quantity),
    Brand: asText(line.vendor),
  });
}

/** Properties of an event about one line. */
export function describeOrderedProduct(line: JsonObject): JsonObject {
  return dropEmpty({
    ...describeProduct(line),
    Quantity: asInteger(line.quantity),
    ItemPrice: toAmountProperty(line.price),
    ProductBrand: asText(line.vendor),
  });
}

/** What events about several lines say of them. */
export function describeLineItems(lines: unknown): JsonObject {
  const listed = asObjects(lines);
  return {
    ItemNames: distinct(listed.map(readLineName)),
    Brands: distinct(listed.map(({ vendor }) => asText(vendor))),
    'Item Count': Array.isArray(lines) ? listed.length : undefined,
    Items: listed.map((line) => toLineItem(line)),
  };
}

/** Price × quantity: Klaviyo counts neither shipping nor discounts in an ordered product's value. */
export function computeLineTotal(line: JsonObject, quantity: unknown = line.quantity) {
  const price = readExactAmount(line.price);
  const count = asInteger(quantity);
  return price && count !== undefined ? decimalToNumber(multiplyByCount(price, count)) : undefined;
}

/** What keeps a line from having a value. `pointer`: the place of the line in the request. */
export function findLineTotalWarnings(line: JsonObject, pointer: string): readonly SourceWarning[] {
  const price = readAmount(line.price);
  const isCount = asInteger(line.quantity) !== undefined;
  return [
    ...(price.kind === 'read' ? [] : [{ name: 'price', isAbsent: price.kind === 'absent' }]),
    ...(isCount ? [] : [{ name: 'quantity', isAbsent: (line.quantity ?? null) === null }]),
  ].map(({ name, isAbsent }) => ({
    code: isAbsent ? 'no_amount' : 'unreadable_amount',
    pointer: `${pointer}/${name}`,
    detail: isAbsent
      ? 'is absent: the event has no value'
      : 'cannot be read; it stays as a property, and the event has no value',
  }));
}

export function distinct(texts: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(texts.filter((text) => text !== undefined))];
}

/** Shopify's own order webhooks have neither image nor address of a product; apps and carts add them. */
function describeProduct(line: JsonObject): JsonObject {
  return {
    ProductID: asShopifyId(line.product_id),
    SKU: asText(line.sku),
    ProductName: readLineName(line),
    'Variant Name': asText(line.variant_title),
    ProductURL: findWebUrl(line.product_url, line.url),
    ImageURL: findWebUrl(
      line.image_url,
      line.image,
      asObject(line.image).src,
      asObject(line.image).url,
      asObject(line.featured_image).url,
    ),
  };
}

/** The first that is an address of the web. Shopify's own may begin with `//`. */
function findWebUrl(...values: readonly unknown[]): string | undefined {
  for (const value of values) {
    const text = asText(value)?.trim() ?? '';
    if (/^https?:\/\/\S+$/i.test(text)) return text;
    if (/^\/\/[^\s/]+\.\S+$/.test(text)) return `https:${text}`;
  }
  return undefined;
}

/** `name` is the title with the variant's. */
function readLineName(line: JsonObject): string | undefined {
  return asText(line.title) ?? asText(line.name);
}
