import type { JsonObject } from '../../json/json.js';
import { asObject, asText } from '../json.js';
import { given, toId, toList } from './fields.js';
import { findRowFaults, toDistinct, toGoods, toOrderedProduct, toRowTotal } from './goods.js';
import { readOrderValue, readTotal, toAmount, toShopCurrency } from './money.js';
import { isAnonymous, readBuyerEmail, toBuyer, toOrderKey } from './person.js';
import { joinReadings, readEventTime, toWarnings, type Reading } from './reading.js';
import { toInsertId, type ShopifyMap, type ShopifyRequest } from './request.js';
import { toTracking } from './tracking.js';
import type { SourceEntry } from '../../ingest/source-entry.js';

/** Payloads are Shopify's Order (REST Admin API, 2026-04), whole, whatever became of the order. */

export const mapPlaced = mapOrder((request) => {
  const { payload } = request;
  const time = readEventTime(payload, ['processed_at', 'created_at']);
  const placed = toOrderEvent(request, { metric: 'Placed Order', time });
  const ordered = toList(payload.line_items).map((line, at) =>
    toLineEvent(request, { line, index: at + 1, time }),
  );
  return [placed, ...ordered];
});

export const mapFulfilled = mapOrder((request) => {
  const { fulfilment, pointer } = findFulfilment(request.payload);
  const time = readEventTime(fulfilment, ['created_at'], pointer);
  const properties = toTracking(fulfilment);
  return [toOrderEvent(request, { metric: 'Fulfilled Order', time, properties })];
});

/** One event a fulfilment: an order may leave in many parts. What it lists is what left. */
export const mapPartlyFulfilled = mapOrder((request) => {
  const { fulfilment, pointer } = findFulfilment(request.payload);
  const { line_items: lines } = fulfilment;
  const event = toOrderEvent(request, {
    metric: 'Fulfilled Partial Order',
    time: readEventTime(fulfilment, ['created_at'], pointer),
    part: fulfilment.id,
    properties: { ...toTracking(fulfilment), ...(lines !== undefined && toGoods(lines)) },
  });
  return [event];
});

export const mapCancelled = mapOrder((request) => {
  const time = readEventTime(request.payload, ['cancelled_at']);
  const properties = { Reason: asText(request.payload.cancel_reason) };
  return [toOrderEvent(request, { metric: 'Cancelled Order', time, properties })];
});

/** An order without a buyer is skipped as a whole: no later request says whose it is. */
export function mapOrder(map: (request: ShopifyRequest) => readonly SourceEntry[]): ShopifyMap {
  return (request) => {
    const reason = findReasonToSkip(request.payload);
    return reason === undefined
      ? { entries: map(request), skipped: [] }
      : { entries: [], skipped: [{ reason }] };
  };
}

export function findReasonToSkip(order: JsonObject): 'test' | 'anonymous' | undefined {
  if (order.test === true) return 'test';
  return isAnonymous(order) ? 'anonymous' : undefined;
}

type OrderEvent = {
  readonly metric: string;
  readonly time: Reading;
  /** Id of the part of the order it is about. Absent: the order. */
  readonly part?: unknown;
  readonly properties?: JsonObject;
};

function toOrderEvent(request: ShopifyRequest, event: OrderEvent): SourceEntry {
  const { payload, orderValue } = request;
  const parts = 'part' in event ? [event.part] : [];
  const value = readOrderValue(payload, orderValue);
  const total = orderValue === 'total' ? value : readTotal(payload);
  return toEntry(request, {
    index: 0,
    reading: joinReadings(event.time, value, readBuyerEmail(payload)),
    fields: {
      event_name: event.metric,
      insert_id: toInsertId(payload.id, ...parts),
      total_amount: total.fields.value,
    },
    properties: { ...toOrderProperties(payload), ...event.properties },
  });
}

type Line = { readonly line: JsonObject; readonly index: number; readonly time: Reading };

function toLineEvent(request: ShopifyRequest, { line, index, time }: Line): SourceEntry {
  const { payload } = request;
  const faults = findRowFaults(line, `/line_items/${index - 1}`);
  const { unread, fields } = time;
  return toEntry(request, {
    index,
    // The first event has the warning about the time.
    reading: { fields, unread, warnings: faults },
    fields: {
      event_name: 'Ordered Product',
      insert_id: toInsertId(payload.id, line.id ?? `line-${index}`),
      value: toRowTotal(line),
      currency: toShopCurrency(payload),
    },
    properties: { OrderId: toId(payload.id), ...toOrderedProduct(line) },
  });
}

type EventParts = {
  readonly index: number;
  readonly reading: Reading;
  readonly fields: JsonObject;
  readonly properties: JsonObject;
};

/** The fields that all events of an order share. */
function toEntry({ shop, payload }: ShopifyRequest, event: EventParts): SourceEntry {
  const { index, reading } = event;
  const orderId = toId(payload.id);
  const entry = given({
    ...event.fields,
    ...reading.fields,
    ...toBuyer(payload),
    order_id: orderId,
    properties: given({ ...event.properties, ...reading.unread }),
  });
  const personKeys = orderId === undefined ? [] : [toOrderKey(shop, orderId)];
  return { lane: 'events', entry, index, personKeys, ...toWarnings(reading) };
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
function findFulfilment({ fulfillments }: JsonObject): {
  readonly fulfilment: JsonObject;
  readonly pointer: string;
} {
  const listed = toList(fulfillments);
  const index = listed.findLastIndex(({ status }) => status !== 'cancelled');
  return { fulfilment: listed[index] ?? {}, pointer: `/fulfillments/${index}` };
}
