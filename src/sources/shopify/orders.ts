import type { SourceEntry } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asObject, asObjects, asText, distinct } from '../json.js';
import { readTracking } from './fulfilments.js';
import {
  computeLineTotal,
  describeLineItems,
  describeOrderedProduct,
  findLineTotalWarnings,
} from './line-items.js';
import { readOrderTotal, readOrderValue, readShopCurrency, toAmountProperty } from './money.js';
import {
  asShopifyId,
  createShopifyInsertId,
  dropEmpty,
  joinReadings,
  readShopifyTime,
  optionalWarnings,
  type Reading,
  type ShopifyMap,
  type ShopifyRequest,
} from './payload.js';
import { isOrderWithoutBuyer, orderPersonKey, readBuyerEmail, readShopifyBuyer } from './person.js';

/** Maps the topics orders/*. Each payload is the whole Order (Shopify REST Admin API, 2026-04). */

export const mapPlacedOrder = mapUnlessSkipped((request) => {
  const { payload } = request;
  const time = readShopifyTime(payload, ['processed_at', 'created_at']);
  const placed = createOrderEvent(request, { metric: 'Placed Order', time });
  const ordered = asObjects(payload.line_items).map((line, at) =>
    createOrderedProductEvent(request, { line, index: at + 1, time }),
  );
  return [placed, ...ordered];
});

export const mapFulfilledOrder = mapUnlessSkipped((request) => {
  const { fulfilment, pointer } = findNewestFulfilment(request.payload);
  const time = readShopifyTime(fulfilment, ['created_at'], pointer);
  const properties = readTracking(fulfilment);
  return [createOrderEvent(request, { metric: 'Fulfilled Order', time, properties })];
});

/** One event for each fulfilment, because an order may ship in many parts. Its items are those that shipped. */
export const mapPartlyFulfilledOrder = mapUnlessSkipped((request) => {
  const { fulfilment, pointer } = findNewestFulfilment(request.payload);
  const { line_items: lines } = fulfilment;
  const event = createOrderEvent(request, {
    metric: 'Fulfilled Partial Order',
    time: readShopifyTime(fulfilment, ['created_at'], pointer),
    part: fulfilment.id,
    properties: {
      ...readTracking(fulfilment),
      ...(lines !== undefined && describeLineItems(lines)),
    },
  });
  return [event];
});

export const mapCancelledOrder = mapUnlessSkipped((request) => {
  const time = readShopifyTime(request.payload, ['cancelled_at']);
  const properties = { Reason: asText(request.payload.cancel_reason) };
  return [createOrderEvent(request, { metric: 'Cancelled Order', time, properties })];
});

/** Skips test orders and orders without a buyer; maps any other order with `map`. */
export function mapUnlessSkipped(
  map: (request: ShopifyRequest) => readonly SourceEntry[],
): ShopifyMap {
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
  /** Id of a part of the order, for the unique id. Absent: the event is about the whole order. */
  readonly part?: unknown;
  readonly properties?: JsonObject;
};

function createOrderEvent(request: ShopifyRequest, event: OrderEvent): SourceEntry {
  const { payload, orderValue } = request;
  const parts = 'part' in event ? [event.part] : [];
  const value = readOrderValue(payload, orderValue);
  const total = orderValue === 'total' ? value : readOrderTotal(payload);
  return createOrderEntry(request, {
    index: 0,
    reading: joinReadings(event.time, value, readBuyerEmail(payload)),
    fields: {
      event_name: event.metric,
      insert_id: createShopifyInsertId(payload.id, ...parts),
      total_amount: total.fields.value,
    },
    properties: { ...describeOrder(payload), ...event.properties },
  });
}

type OrderedLine = { readonly line: JsonObject; readonly index: number; readonly time: Reading };

function createOrderedProductEvent(
  request: ShopifyRequest,
  { line, index, time }: OrderedLine,
): SourceEntry {
  const { payload } = request;
  const lineWarnings = findLineTotalWarnings(line, `/line_items/${index - 1}`);
  const { unread, fields } = time;
  return createOrderEntry(request, {
    index,
    // The event of the order already has the warning about the time.
    reading: { fields, unread, warnings: lineWarnings },
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

/** Creates the entry of an event with the fields that all events of an order share. */
function createOrderEntry({ shop, payload }: ShopifyRequest, event: EventParts): SourceEntry {
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
  return { lane: 'events', entry, index, personKeys, ...optionalWarnings(reading) };
}

function describeOrder(payload: JsonObject): JsonObject {
  return {
    OrderId: asShopifyId(payload.id),
    'Order Name': asText(payload.name),
    ...describeLineItems(payload.line_items),
    'Discount Codes': distinct(asObjects(payload.discount_codes).map(({ code }) => asText(code))),
    'Total Discounts': toAmountProperty(payload.total_discounts),
    'Customer Locale': asText(payload.customer_locale),
    'Source Name': asText(payload.source_name),
    BillingAddress: readShopifyAddress(payload.billing_address),
    ShippingAddress: readShopifyAddress(payload.shipping_address),
  };
}

function readShopifyAddress(value: unknown): JsonObject {
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

/** The fulfilment that raised the webhook: the newest that is not cancelled. */
function findNewestFulfilment({ fulfillments }: JsonObject): {
  readonly fulfilment: JsonObject;
  readonly pointer: string;
} {
  const listed = asObjects(fulfillments);
  const index = listed.findLastIndex(({ status }) => status !== 'cancelled');
  return { fulfilment: listed[index] ?? {}, pointer: `/fulfillments/${index}` };
}
