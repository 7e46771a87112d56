import { mapCheckout } from './checkouts.js';
import { mapCustomer } from './customers.js';
import { asObject } from '../json.js';
import { mapCancelled, mapFulfilled, mapPartlyFulfilled, mapPlaced } from './orders.js';
import { toKnownBuyers } from './person.js';
import { mapRefund } from './refunds.js';
import type { ShopifyMap, ShopifyRequest } from './request.js';
import type { SourcePost } from '../../ingest/source-entry.js';

/** A checkout is told of once: checkouts/update comes at every step of it. */
const maps: ReadonlyMap<string, ShopifyMap> = new Map([
  ['orders/create', mapPlaced],
  ['orders/fulfilled', mapFulfilled],
  ['orders/partially_fulfilled', mapPartlyFulfilled],
  ['orders/cancelled', mapCancelled],
  ['refunds/create', mapRefund],
  ['checkouts/create', mapCheckout],
  ['customers/create', mapCustomer],
  ['customers/update', mapCustomer],
]);

const mapNothing: ShopifyMap = () => ({ entries: [], skipped: [{ reason: 'unmapped' }] });

type Posted = Omit<ShopifyRequest, 'payload'> & {
  /** The webhook's id, the same whenever it is repeated. */
  readonly delivery?: string | undefined;
  readonly body: unknown;
};

/** Any order tells who placed it, whatever else comes of the request: a refund later asks. */
export function mapShopify({ body, delivery, ...named }: Posted): SourcePost {
  const request = { ...named, payload: asObject(body) };
  const { topic, shop, payload } = request;
  const map = maps.get(topic) ?? mapNothing;
  return {
    source: 'shopify',
    topic,
    ...(delivery !== undefined && { delivery }),
    ...map(request),
    people: topic.startsWith('orders/') ? toKnownBuyers(shop, payload) : [],
  };
}
