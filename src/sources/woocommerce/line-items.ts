import type { JsonObject } from '../../json/json.js';
import { addDecimals, decimalToNumber, parseDecimal, type Decimal } from '../decimal.js';
import { asId, asNumeral, asObject, asObjects, asText, compact } from '../json.js';
import { readAmount } from '../money.js';

/**
 * Properties of line items, under the names that Klaviyo documents for custom integrations
 * (`ProductName`, `Items`, …). Prices are before discounts, and include tax if the shop enters its
 * prices with tax.
 */

/** The price of a line before discounts. Undefined if it cannot be read. */
export function computeLineSubtotal(line: JsonObject, hasTax: boolean): Decimal | undefined {
  const subtotal = parseDecimal(line.subtotal);
  if (subtotal === undefined || !hasTax) return subtotal;
  const tax = parseDecimal(line.subtotal_tax ?? '0');
  return tax && addDecimals(subtotal, tax);
}

/** Properties of one line, for its own event and as an element of `Items`. */
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

/** Properties of all lines, for an event about an order. */
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

/** An amount as a number, or the text that cannot be read as one. */
export function toAmountOrText(value: unknown): unknown {
  const read = readAmount(value);
  return read.kind === 'read' ? read.amount : (asText(value) ?? undefined);
}

/** The price of one item with four decimals: 10.00 for three is 3.3333. */
function computeUnitPrice(rowTotal: number, quantity: unknown): number | undefined {
  if (typeof quantity !== 'number' || quantity <= 0) return undefined;
  return Number((rowTotal / quantity).toFixed(4));
}

function readWooItemName(line: JsonObject): string | undefined {
  return asText(line.name) ?? asText(line.parent_name);
}

/** The id of a product. A deleted product has the id 0, which counts as absent. */
function readProductId(value: unknown): string | undefined {
  const id = asId(value);
  return id === '0' ? undefined : id;
}
