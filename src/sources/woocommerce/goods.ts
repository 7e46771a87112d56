import type { JsonObject } from '../../json/json.js';
import { isJsonObject } from '../../json/json.js';
import { addDecimals, parseDecimal, decimalToNumber, type Decimal } from '../decimal.js';
import { asId, asList, asNumeral, asObject, asText, compact } from '../json.js';
import { readAmount } from '../money.js';

/**
 * Line items under the names Klaviyo documents for integrations of one's own (`ProductName`, `Items`,
 * …). Prices are before discounts, and with tax where the shop enters its prices with tax.
 */

/** The price of a line before discounts. Undefined where it cannot be read. */
export function computeLineSubtotal(line: JsonObject, hasTax: boolean): Decimal | undefined {
  const subtotal = parseDecimal(line.subtotal);
  if (subtotal === undefined || !hasTax) return subtotal;
  const tax = parseDecimal(line.subtotal_tax ?? '0');
  return tax && addDecimals(subtotal, tax);
}

/** Properties of an event about one line, and an element of `Items`. */
export function toWooItem(line: JsonObject, hasTax: boolean): JsonObject {
  const rowTotal = computeLineSubtotal(line, hasTax);
  const quantity = asNumeral(line.quantity);
  return compact({
    ProductID: readProductId(line.product_id),
    VariantID: readProductId(line.variation_id),
    SKU: asText(line.sku),
    ProductName: readWooItemName(line),
    Quantity: quantity,
    ItemPrice: rowTotal && computeUnitPrice(decimalToNumber(rowTotal), quantity),
    RowTotal: rowTotal && decimalToNumber(rowTotal),
    ImageURL: asText(asObject(line.image).src),
  });
}

/** Of all lines, for events about an order. */
export function describeWooItems(payload: JsonObject): JsonObject {
  const hasTax = payload.prices_include_tax === true;
  const lines = asObjects(payload.line_items);
  const names = lines.flatMap((line) => readWooItemName(line) ?? []);
  return {
    ItemNames: [...new Set(names)],
    'Item Count': lines.length,
    Items: lines.map((line) => toWooItem(line, hasTax)),
  };
}

export function asObjects(value: unknown): readonly JsonObject[] {
  return asList(value).filter(isJsonObject);
}

/** A readable amount as a number, else what is there. */
export function toAmountOrText(value: unknown): unknown {
  const read = readAmount(value);
  return read.kind === 'read' ? read.amount : (asText(value) ?? undefined);
}

/** In hundredths of the smallest amount: 10.00 for three is 3.3333. */
function computeUnitPrice(rowTotal: number, quantity: unknown): number | undefined {
  if (typeof quantity !== 'number' || quantity <= 0) return undefined;
  return Number((rowTotal / quantity).toFixed(4));
}

function readWooItemName(line: JsonObject): string | undefined {
  return asText(line.name) ?? asText(line.parent_name);
}

/** A product that was deleted has the id 0. */
function readProductId(value: unknown): string | undefined {
  const id = asId(value);
  return id === '0' ? undefined : id;
}
