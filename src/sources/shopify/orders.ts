import type { JsonObject } from '../../json.js';
import { add, toDecimal, toNumber } from '../decimal.js';
import { asObject, asText } from '../json.js';
import { given, toId, toList, toTime } from './fields.js';
import { toAmount, toDistinct, toGoods, toOrderedProduct, toRowTotal } from './goods.js';
import { toBuyer, toOrderKey } from './person.js';
import { toInsertId, type OrderValue, type ShopifyMap, type ShopifyRequest } from './request.js';
import type { SourceEntry } from '../../ingest/source-entry.js';

/** Payloads are Shopify's Order (REST Admin API, 2026-04), whole, whatever became of the order. */

export const mapPlaced = mapUnlessTest((request) => {
  const { payload } = request;
  const time = toTime(payload.processed_at) ?? toTime(payload.created_at);
  const placed = toOrderEvent(request, { metric: 'Placed Order', time });
  const ordered = toList(payload.line_items).map((line, at) =>
    toLineEvent(request, { line, index: at + 1, time }),
  );
  return [placed, ...ordered];
});

export const mapFulfilled = mapUnlessTest((request) => {
  const time = toTime(findFulfilment(request.payload).created_at);
  return [toOrderEvent(request, { metric: 'Fulfilled Order', time })];
});

/** One event a fulfilment: an order may leave in many parts. What it lists is what left. */
export const mapPartlyFulfilled = mapUnlessTest((request) => {
  const fulfilment = findFulfilment(request.payload);
  const { line_items: lines } = fulfilment;
  const event = toOrderEvent(request, {
    metric: 'Fulfilled Partial Order',
    time: toTime(fulfilment.created_at),
    part: fulfilment.id,
    properties: lines === undefined ? {} : toGoods(lines),
  });
  return [event];
});

export const mapCancelled = mapUnlessTest((request) => {
  const { cancelled_at: at, cancel_reason: reason } = request.payload;
  const properties = { Reason: asText(reason) };
  return [toOrderEvent(request, { metric: 'Cancelled Order', time: toTime(at), properties })];
});

function mapUnlessTest(map: (request: ShopifyRequest) => readonly SourceEntry[]): ShopifyMap {
  return (request) =>
    request.payload.test === true
      ? { entries: [], skipped: [{ reason: 'test' }] }
      : { entries: map(request), skipped: [] };
}

type OrderEvent = {
  readonly metric: string;
  readonly time: string | undefined;
  /** Id of the part of the order it is about. Absent: the order. */
  readonly part?: unknown;
  readonly properties?: JsonObject;
};

function toOrderEvent(request: ShopifyRequest, event: OrderEvent): SourceEntry {
  const { payload, orderValue } = request;
  const parts = 'part' in event ? [event.part] : [];
  return toEntry(request, 0, {
    event_name: event.metric,
    event_time: event.time,
    insert_id: toInsertId(payload.id, ...parts),
    value: toValue(payload, orderValue),
    total_amount: toAmount(payload.total_price),
    properties: given({ ...toOrderProperties(payload), ...event.properties }),
  });
}

type Line = {
  readonly line: JsonObject;
  readonly index: number;
  readonly time: string | undefined;
};

function toLineEvent(request: ShopifyRequest, { line, index, time }: Line): SourceEntry {
  const { payload } = request;
  return toEntry(request, index, {
    event_name: 'Ordered Product',
    event_time: time,
    insert_id: toInsertId(payload.id, line.id),
    value: toRowTotal(line),
    properties: given({ OrderId: toId(payload.id), ...toOrderedProduct(line) }),
  });
}

/** What all events of an order have in common. One that names nobody may be completed by an earlier request. */
function toEntry(
  { shop, payload }: ShopifyRequest,
  index: number,
  fields: JsonObject,
): SourceEntry {
  const orderId = toId(payload.id);
  const entry = given({
    ...fields,
    ...toBuyer(payload),
    order_id: orderId,
    currency: asText(payload.currency),
  });
  const personKeys = orderId === undefined ? [] : [toOrderKey(shop, orderId)];
  return { lane: 'events', entry, index, personKeys };
}

/** Shopify's subtotal is net of discounts already, and its total holds tax, which Klaviyo's formula does not. */
function toValue(payload: JsonObject, orderValue: OrderValue): number | undefined {
  if (orderValue === 'total') return toAmount(payload.total_price);
  const subtotal = toDecimal(payload.subtotal_price);
  const { amount } = asObject(asObject(payload.total_shipping_price_set).shop_money);
  // What is not shipped has no shipping price.
  const shipping = toDecimal(amount ?? '0');
  return subtotal && shipping && toNumber(add(subtotal, shipping));
}

function toOrderProperties(payload: JsonObject): JsonObject {
  return {
    OrderId: toId(payload.id),
    'Order Name': asText(payload.name),
    ...toGoods(payload.line_items),
    'Discount Codes': toDistinct(toList(payload.discount_codes).map(({ code }) => asText(code))),
    'Total Discounts': toAmount(payload.total_discounts),
    'Customer Locale': asText(payload.customer_locale),
    'Source Name': asText(payload.source_name),
    BillingAddress: toAddress(payload.billing_address),
    ShippingAddress: toAddress(payload.shipping_address),
  };
}

function toAddress(value: unknown): JsonObject {
  const address = asObject(value);
  return given({
    FirstName: asText(address.first_name),
    LastName: asText(address.last_name),
    Company: asText(address.company),
    Address1: asText(address.address1),
    Address2: asText(address.address2),
    City: asText(address.city),
    Region: asText(address.province),
    RegionCode: asText(address.province_code),
    Country: asText(address.country),
    CountryCode: asText(address.country_code),
    Zip: asText(address.zip),
    Phone: asText(address.phone),
  });
}

/** The one that raised the request: the newest that was not taken back. */
function findFulfilment({ fulfillments }: JsonObject): JsonObject {
  return toList(fulfillments).findLast(({ status }) => status !== 'cancelled') ?? {};
}
