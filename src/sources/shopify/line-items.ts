import type { SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { decimalToNumber, multiplyByCount } from '../decimal.js';
import { asObject, asObjects, asText, distinct } from '../json.js';
import { readAmount } from '../money.js';
import { readExactAmount, toAmountProperty } from './money.js';
import { asInteger, asShopifyId, dropEmpty } from './payload.js';

/**
 * Properties of line items. Names are those that Klaviyo documents for custom integrations
 * (`ProductName`, `Items`, …), and else those of Klaviyo's own Shopify integration (`Variant Name`).
 */

/** An element of `Items`. `quantity` differs from the line's own if only a part is concerned, as in a refund. */
export function toLineItem(line: JsonObject, quantity: unknown = line.quantity): JsonObject {
  return dropEmpty({
    ...describeProduct(line),
    Quantity: asInteger(quantity),
    ItemPrice: toAmountProperty(line.price),
    RowTotal: computeLineTotal(line, quantity),
    Brand: asText(line.vendor),
  });
}

/** Properties of the event "Ordered Product". */
export function describeOrderedProduct(line: JsonObject): JsonObject {
  return dropEmpty({
    ...describeProduct(line),
    Quantity: asInteger(line.quantity),
    ItemPrice: toAmountProperty(line.price),
    ProductBrand: asText(line.vendor),
  });
}

/** Properties of an event about several lines. */
export function describeLineItems(lines: unknown): JsonObject {
  const listed = asObjects(lines);
  return {
    ItemNames: distinct(listed.map(readLineName)),
    Brands: distinct(listed.map(({ vendor }) => asText(vendor))),
    'Item Count': Array.isArray(lines) ? listed.length : undefined,
    Items: listed.map((line) => toLineItem(line)),
  };
}

/** Price × quantity. Klaviyo counts neither shipping nor discounts in the value of an ordered product. */
export function computeLineTotal(line: JsonObject, quantity: unknown = line.quantity) {
  const price = readExactAmount(line.price);
  const count = asInteger(quantity);
  return price && count !== undefined ? decimalToNumber(multiplyByCount(price, count)) : undefined;
}

/** Warnings about a price or a quantity without which a line has no value. `pointer`: the line in the request. */
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

/** Shopify's order webhooks have neither image nor URL of a product; apps and carts add them. */
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

/** The first value that is a web address. Those of Shopify may begin with `//`. */
function findWebUrl(...values: readonly unknown[]): string | undefined {
  for (const value of values) {
    const text = asText(value)?.trim() ?? '';
    if (/^https?:\/\/\S+$/i.test(text)) return text;
    if (/^\/\/[^\s/]+\.\S+$/.test(text)) return `https:${text}`;
  }
  return undefined;
}

/** `title` names the product; `name` names the product and its variant. */
function readLineName(line: JsonObject): string | undefined {
  return asText(line.title) ?? asText(line.name);
}
