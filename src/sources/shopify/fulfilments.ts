import type { JsonObject } from '../../json/json.js';
import { asText } from '../json.js';
import { dropEmpty, asShopifyId } from './fields.js';
import { describeLineItems } from './goods.js';
import { orderPersonKey } from './person.js';
import { readShopifyTime, toWarnings } from './reading.js';
import { createShopifyInsertId, type ShopifyMap, type ShopifyRequest } from './request.js';
import { toTracking } from './tracking.js';

/** Statuses of a shipment that Klaviyo's own integration has a metric for. */
const metrics: ReadonlyMap<unknown, string> = new Map([
  ['confirmed', 'Confirmed Shipment'],
  ['out_for_delivery', 'Marked Out for Delivery'],
  ['delivered', 'Delivered Shipment'],
]);

/** The payload is Shopify's Fulfillment (REST Admin API, 2026-04). */
export const mapFulfilment: ShopifyMap = (request) => {
  const { payload } = request;
  if (payload.status === 'cancelled') return { entries: [], skipped: [{ reason: 'cancelled' }] };
  return mapShipment(request, {
    status: payload.shipment_status,
    fulfilmentId: payload.id,
    times: ['updated_at', 'created_at'],
    properties: {
      'Fulfillment Name': asText(payload.name),
      ...toTracking(payload),
      ...describeLineItems(payload.line_items),
    },
  });
};

/** The payload is Shopify's FulfillmentEvent (REST Admin API, 2026-04). It names no person. */
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
  /** Fields with the time of the status, the surest first. */
  readonly times: readonly string[];
  readonly properties: JsonObject;
};

/** Both topics give one event for a fulfilment and a status. */
function mapShipment(
  { shop, payload }: ShopifyRequest,
  shipment: Shipment,
): ReturnType<ShopifyMap> {
  const { status, fulfilmentId, times, properties } = shipment;
  const metric = metrics.get(status);
  if (metric === undefined) return { entries: [], skipped: [{ reason: 'no_shipment_status' }] };
  const reading = readShopifyTime(payload, times);
  const orderId = asShopifyId(payload.order_id);
  const email = asText(payload.email);
  const entry = dropEmpty({
    event_name: metric,
    ...reading.fields,
    insert_id: createShopifyInsertId(payload.order_id, fulfilmentId),
    // The order's. The destination is the recipient's, who may be somebody else.
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
    entries: [{ lane: 'events', entry, index: 0, personKeys, ...toWarnings(reading) }],
    skipped: [],
  };
}
