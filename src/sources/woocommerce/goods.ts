import type { JsonObject } from '../../json/json.js';
import { isJsonObject } from '../../json/json.js';
import { add, toDecimal, toNumber, type Decimal } from '../decimal.js';
import { asId, asList, asNumeral, asObject, asText, compact } from '../json.js';
import { readAmount } from '../money.js';

/**
 * Line items under the names Klaviyo documents for integrations of one's own (`ProductName`, `Items`,
 * …). Prices are before discounts, and with tax where the shop enters its prices with tax.
 */

/** The price of a line before discounts. Undefined where it cannot be read. */
export function toRowTotal(line: JsonObject, hasTax: boolean): Decimal | undefined {
  const subtotal = toDecimal(line.subtotal);
  if (subtotal === undefined || !hasTax) return subtotal;
  const tax = toDecimal(line.subtotal_tax ?? '0');
  return tax && add(subtotal, tax);
}

/** Properties of an event about one line, and an element of `Items`. */
export function toItem(line: JsonObject, hasTax: boolean): JsonObject {
  const rowTotal = toRowTotal(line, hasTax);
  const quantity = asNumeral(line.quantity);
  return compact({
    ProductID: toProductId(line.product_id),
    VariantID: toProductId(line.variation_id),
    SKU: asText(line.sku),
    ProductName: toName(line),
    Quantity: quantity,
    ItemPrice: rowTotal && toUnitPrice(toNumber(rowTotal), quantity),
    RowTotal: rowTotal && toNumber(rowTotal),
    ImageURL: asText(asObject(line.image).src),
  });
}

/** Of all lines, for events about an order. */
export function toGoods(payload: JsonObject): JsonObject {
  const hasTax = payload.prices_include_tax === true;
  const lines = toLines(payload.line_items);
  const names = lines.flatMap((line) => toName(line) ?? []);
  return {
    ItemNames: [...new Set(names)],
    'Item Count': lines.length,
    Items: lines.map((line) => toItem(line, hasTax)),
  };
}

export function toLines(value: unknown): readonly JsonObject[] {
  return asList(value).filter(isJsonObject);
}

/** A readable amount as a number, else what is there. */
export function toAmountProperty(value: unknown): unknown {
  const read = readAmount(value);
  return read.kind === 'read' ? read.amount : (asText(value) ?? undefined);
}

/** In hundredths of the smallest amount: 10.00 for three is 3.3333. */
function toUnitPrice(rowTotal: number, quantity: unknown): number | undefined {
  if (typeof quantity !== 'number' || quantity <= 0) return undefined;
  return Number((rowTotal / quantity).toFixed(4));
}

function toName(line: JsonObject): string | undefined {
  return asText(line.name) ?? asText(line.parent_name);
}

/** A product that was deleted has the id 0. */
function toProductId(value: unknown): string | undefined {
  const id = asId(value);
  return id === '0' ? undefined : id;
}
