import type { JsonObject } from '../../json/json.js';
import { asList, asText, distinct } from '../json.js';
import { describeLineItems } from './line-items.js';
import {
  asShopifyId,
  createShopifyInsertId,
  dropEmpty,
  readShopifyTime,
  optionalWarnings,
  type ShopifyMap,
  type ShopifyRequest,
} from './payload.js';
import { orderPersonKey } from './person.js';

/** Metrics of Klaviyo's own Shopify integration, by the status of the shipment. */
const metricByStatus: ReadonlyMap<unknown, string> = new Map([
  ['confirmed', 'Confirmed Shipment'],
  ['out_for_delivery', 'Marked Out for Delivery'],
  ['delivered', 'Delivered Shipment'],
]);

/** Maps fulfillments/create and fulfillments/update. The payload is Shopify's Fulfillment (REST Admin API, 2026-04). */
export const mapFulfilment: ShopifyMap = (request) => {
  const { payload } = request;
  if (payload.status === 'cancelled') return { entries: [], skipped: [{ reason: 'cancelled' }] };
  return mapShipment(request, {
    status: payload.shipment_status,
    fulfilmentId: payload.id,
    times: ['updated_at', 'created_at'],
    properties: {
      'Fulfillment Name': asText(payload.name),
      ...readTracking(payload),
      ...describeLineItems(payload.line_items),
    },
  });
};

/** Maps fulfillment_events/create. The payload is Shopify's FulfillmentEvent (REST Admin API, 2026-04), without a person. */
export const mapFulfilmentEvent: ShopifyMap = (request) => {
  const { payload } = request;
  return mapShipment(request, {
    status: payload.status,
    fulfilmentId: payload.fulfillment_id,
    times: ['happened_at', 'created_at'],
    properties: {
      Message: asText(payload.message),
      EstimatedDeliveryAt: asText(payload.estimated_delivery_at),
    },
  });
};

type Shipment = {
  readonly status: unknown;
  readonly fulfilmentId: unknown;
  /** Fields with the time of the status, the most exact first. */
  readonly times: readonly string[];
  readonly properties: JsonObject;
};

/** Both topics give the same unique id for a fulfilment and a status, so that Klaviyo counts it once. */
function mapShipment(
  { shop, payload }: ShopifyRequest,
  shipment: Shipment,
): ReturnType<ShopifyMap> {
  const { status, fulfilmentId, times, properties } = shipment;
  const metric = metricByStatus.get(status);
  if (metric === undefined) return { entries: [], skipped: [{ reason: 'no_shipment_status' }] };
  const reading = readShopifyTime(payload, times);
  const orderId = asShopifyId(payload.order_id);
  const email = asText(payload.email);
  const entry = dropEmpty({
    event_name: metric,
    ...reading.fields,
    insert_id: createShopifyInsertId(payload.order_id, fulfilmentId),
    // The address of the order. The destination names the recipient, who may be another person.
    email,
    order_id: orderId,
    properties: dropEmpty({
      OrderId: orderId,
      FulfillmentId: asShopifyId(fulfilmentId),
      ...properties,
      ...reading.unread,
    }),
  });
  const personKeys = orderId === undefined ? [] : [orderPersonKey(shop, orderId)];
  return {
    entries: [{ lane: 'events', entry, index: 0, personKeys, ...optionalWarnings(reading) }],
    skipped: [],
  };
}

/** Properties with the tracking numbers and addresses of a fulfilment. */
export function readTracking(fulfilment: JsonObject): JsonObject {
  const listBoth = (list: unknown, one: unknown): readonly string[] =>
    distinct([one, ...asList(list)].map(asText));
  const numbers = listBoth(fulfilment.tracking_numbers, fulfilment.tracking_number);
  const urls = listBoth(fulfilment.tracking_urls, fulfilment.tracking_url);
  return {
    TrackingCompany: asText(fulfilment.tracking_company),
    TrackingNumber: numbers[0],
    TrackingURL: urls[0],
    TrackingNumbers: numbers.length > 1 ? numbers : undefined,
    TrackingURLs: urls.length > 1 ? urls : undefined,
  };
}
