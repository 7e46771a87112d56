import type { JsonObject } from '../../json.js';
import { multiply, toDecimal, toNumber } from '../decimal.js';
import { asText } from '../json.js';
import { given, toId, toList } from './fields.js';

/**
 * Line items under the names Klaviyo documents for integrations of one's own (`ProductName`, `Items`,
 * …), and, for what those have no name for, the names of Klaviyo's Shopify integration (`Variant Name`).
 */

/** One line. `quantity` may be another than the line's own, where only a part is concerned. */
export function toItem(line: JsonObject, quantity: unknown = line.quantity): JsonObject {
  return given({
    ...toProduct(line),
    Quantity: toQuantity(quantity),
    ItemPrice: toAmount(line.price),
    RowTotal: toRowTotal(line, quantity),
    Brand: asText(line.vendor),
  });
}

/** Properties of an event about one line. */
export function toOrderedProduct(line: JsonObject): JsonObject {
  return given({
    ...toProduct(line),
    Quantity: toQuantity(line.quantity),
    ItemPrice: toAmount(line.price),
    ProductBrand: asText(line.vendor),
  });
}

/** What events about several lines say of them. */
export function toGoods(lines: unknown): JsonObject {
  const listed = toList(lines);
  return {
    ItemNames: toDistinct(listed.map(toName)),
    Brands: toDistinct(listed.map(({ vendor }) => asText(vendor))),
    'Item Count': Array.isArray(lines) ? listed.length : undefined,
    Items: listed.map((line) => toItem(line)),
  };
}

/** Price × quantity: Klaviyo counts neither shipping nor discounts in an ordered product's value. */
export function toRowTotal(line: JsonObject, quantity: unknown = line.quantity) {
  const price = toDecimal(line.price);
  const count = toQuantity(quantity);
  return price && count !== undefined ? toNumber(multiply(price, count)) : undefined;
}

export function toDistinct(texts: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(texts.filter((text) => text !== undefined))];
}

export function toAmount(value: unknown): number | undefined {
  const decimal = toDecimal(value);
  return decimal && toNumber(decimal);
}

function toProduct(line: JsonObject): JsonObject {
  return {
    ProductID: toId(line.product_id),
    SKU: asText(line.sku),
    ProductName: toName(line),
    'Variant Name': asText(line.variant_title),
  };
}

/** `name` is the title with the variant's. */
function toName(line: JsonObject): string | undefined {
  return asText(line.title) ?? asText(line.name);
}

function toQuantity(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined;
}
