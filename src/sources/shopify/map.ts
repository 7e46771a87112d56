import { addAnonymousOrders } from './anonymous.js';
import { mapCheckout } from './checkouts.js';
import { mapShopifyCustomer } from './customers.js';
import { mapFulfilment, mapFulfilmentEvent } from './fulfilments.js';
import { asObject } from '../json.js';
import {
  mapCancelledOrder,
  mapFulfilledOrder,
  mapPartlyFulfilledOrder,
  mapPlacedOrder,
} from './orders.js';
import { listKnownBuyers } from './person.js';
import { mapRefund, mapRefundsOfOrder } from './refunds.js';
import type { ShopifyMap, ShopifyRequest } from './request.js';
import type { SourcePost } from '../../ingest/source-entry.js';

/**
 * Topics that become something. An order gives its revenue with orders/create alone: orders/paid,
 * orders/edited and draft_orders/* are about orders that come, or came, with that topic.
 */
const maps: ReadonlyMap<string, ShopifyMap> = new Map([
  ['orders/create', mapPlacedOrder],
  ['orders/fulfilled', mapFulfilledOrder],
  ['orders/partially_fulfilled', mapPartlyFulfilledOrder],
  ['orders/cancelled', mapCancelledOrder],
  ['orders/updated', mapRefundsOfOrder],
  ['refunds/create', mapRefund],
  ['fulfillments/create', mapFulfilment],
  ['fulfillments/update', mapFulfilment],
  ['fulfillment_events/create', mapFulfilmentEvent],
  ['checkouts/create', mapCheckout],
  ['checkouts/update', mapCheckout],
  ['customers/create', mapShopifyCustomer],
  ['customers/update', mapShopifyCustomer],
]);

const mapNothing: ShopifyMap = () => ({ entries: [], skipped: [{ reason: 'unmapped' }] });

type Posted = Omit<ShopifyRequest, 'payload'> & {
  /** The webhook's id, the same whenever it is repeated. */
  readonly delivery?: string | undefined;
  readonly body: unknown;
};

/** Any topic of orders says who placed the order: refunds and shipments look that up later. */
export function mapShopifyWebhook({ body, delivery, ...named }: Posted): SourcePost {
  const request = { ...named, payload: asObject(body) };
  const { topic, shop, payload } = request;
  const map = maps.get(topic) ?? mapNothing;
  return {
    source: 'shopify',
    topic,
    ...(delivery !== undefined && { delivery }),
    ...addAnonymousOrders(request, map(request)),
    people: topic.startsWith('orders/') ? listKnownBuyers(shop, payload) : [],
  };
}
