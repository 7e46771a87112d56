import type { JsonObject } from '../../json/json.js';
import { asObject, asText } from '../json.js';
import { dropEmpty, asShopifyId, asObjects } from './fields.js';
import {
  findLineTotalWarnings,
  distinct,
  describeLineItems,
  describeOrderedProduct,
  computeLineTotal,
} from './goods.js';
import { readOrderValue, readOrderTotal, toAmountProperty, readShopCurrency } from './money.js';
import { isOrderWithoutBuyer, readBuyerEmail, readShopifyBuyer, orderPersonKey } from './person.js';
import { joinReadings, readShopifyTime, toWarnings, type Reading } from './reading.js';
import { createShopifyInsertId, type ShopifyMap, type ShopifyRequest } from './request.js';
import { toTracking } from './tracking.js';
import type { SourceEntry } from '../../ingest/source-entry.js';

/** Payloads are Shopify's Order (REST Admin API, 2026-04), whole, whatever became of the order. */

export const mapPlacedOrder = mapOrder((request) => {
  const { payload } = request;
  const time = readShopifyTime(payload, ['processed_at', 'created_at']);
  const placed = toOrderEvent(request, { metric: 'Placed Order', time });
  const ordered = asObjects(payload.line_items).map((line, at) =>
    toLineEvent(request, { line, index: at + 1, time }),
  );
  return [placed, ...ordered];
});

export const mapFulfilledOrder = mapOrder((request) => {
  const { fulfilment, pointer } = findFulfilment(request.payload);
  const time = readShopifyTime(fulfilment, ['created_at'], pointer);
  const properties = toTracking(fulfilment);
  return [toOrderEvent(request, { metric: 'Fulfilled Order', time, properties })];
});

/** One event a fulfilment: an order may leave in many parts. What it lists is what left. */
export const mapPartlyFulfilledOrder = mapOrder((request) => {
  const { fulfilment, pointer } = findFulfilment(request.payload);
  const { line_items: lines } = fulfilment;
  const event = toOrderEvent(request, {
    metric: 'Fulfilled Partial Order',
    time: readShopifyTime(fulfilment, ['created_at'], pointer),
    part: fulfilment.id,
    properties: { ...toTracking(fulfilment), ...(lines !== undefined && describeLineItems(lines)) },
  });
  return [event];
});

export const mapCancelledOrder = mapOrder((request) => {
  const time = readShopifyTime(request.payload, ['cancelled_at']);
  const properties = { Reason: asText(request.payload.cancel_reason) };
  return [toOrderEvent(request, { metric: 'Cancelled Order', time, properties })];
});

/** An order without a buyer is skipped as a whole: no later request says whose it is. */
export function mapOrder(map: (request: ShopifyRequest) => readonly SourceEntry[]): ShopifyMap {
  return (request) => {
    const reason = findOrderSkipReason(request.payload);
    return reason === undefined
      ? { entries: map(request), skipped: [] }
      : { entries: [], skipped: [{ reason }] };
  };
}

export function findOrderSkipReason(order: JsonObject): 'test' | 'anonymous' | undefined {
  if (order.test === true) return 'test';
  return isOrderWithoutBuyer(order) ? 'anonymous' : undefined;
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
  const total = orderValue === 'total' ? value : readOrderTotal(payload);
  return toEntry(request, {
    index: 0,
    reading: joinReadings(event.time, value, readBuyerEmail(payload)),
    fields: {
      event_name: event.metric,
      insert_id: createShopifyInsertId(payload.id, ...parts),
      total_amount: total.fields.value,
    },
    properties: { ...toOrderProperties(payload), ...event.properties },
  });
}

type Line = { readonly line: JsonObject; readonly index: number; readonly time: Reading };

function toLineEvent(request: ShopifyRequest, { line, index, time }: Line): SourceEntry {
  const { payload } = request;
  const faults = findLineTotalWarnings(line, `/line_items/${index - 1}`);
  const { unread, fields } = time;
  return toEntry(request, {
    index,
    // The first event has the warning about the time.
    reading: { fields, unread, warnings: faults },
    fields: {
      event_name: 'Ordered Product',
      insert_id: createShopifyInsertId(payload.id, line.id ?? `line-${index}`),
      value: computeLineTotal(line),
      currency: readShopCurrency(payload),
    },
    properties: { OrderId: asShopifyId(payload.id), ...describeOrderedProduct(line) },
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
  const orderId = asShopifyId(payload.id);
  const entry = dropEmpty({
    ...event.fields,
    ...reading.fields,
    ...readShopifyBuyer(payload),
    order_id: orderId,
    properties: dropEmpty({ ...event.properties, ...reading.unread }),
  });
  const personKeys = orderId === undefined ? [] : [orderPersonKey(shop, orderId)];
  return { lane: 'events', entry, index, personKeys, ...toWarnings(reading) };
}

function toOrderProperties(payload: JsonObject): JsonObject {
  return {
    OrderId: asShopifyId(payload.id),
    'Order Name': asText(payload.name),
    ...describeLineItems(payload.line_items),
    'Discount Codes': distinct(asObjects(payload.discount_codes).map(({ code }) => asText(code))),
    'Total Discounts': toAmountProperty(payload.total_discounts),
    'Customer Locale': asText(payload.customer_locale),
    'Source Name': asText(payload.source_name),
    BillingAddress: toAddress(payload.billing_address),
    ShippingAddress: toAddress(payload.shipping_address),
  };
}

function toAddress(value: unknown): JsonObject {
  const address = asObject(value);
  return dropEmpty({
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
  const listed = asObjects(fulfillments);
  const index = listed.findLastIndex(({ status }) => status !== 'cancelled');
  return { fulfilment: listed[index] ?? {}, pointer: `/fulfillments/${index}` };
}
