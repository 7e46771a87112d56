import type { JsonObject } from '../../json/json.js';
import { asShopifyId } from './fields.js';
import type { SourcePost } from '../../ingest/source-entry.js';

/** SHOPIFY_ORDER_VALUE. */
export type OrderValue = 'total' | 'subtotal_and_shipping';

/** SHOPIFY_PENDING_REFUNDS. */
export type PendingRefunds = 'wait' | 'count';

/** One webhook: what its headers name, and its body as JSON. */
export type ShopifyRequest = {
  /** Such as `orders/create`. */
  readonly topic: string;
  /** Such as `ada.myshopify.com`. */
  readonly shop: string;
  readonly payload: JsonObject;
  readonly orderValue: OrderValue;
  readonly pendingRefunds: PendingRefunds;
};

export type ShopifyMap = (request: ShopifyRequest) => Pick<SourcePost, 'entries' | 'skipped'>;

/**
 * The id of an event of an object, the same whichever delivery brings it. Made of signed content
 * alone: headers are not signed, and the shop's name is one. Ids are Shopify's, not a shop's.
 */
export function createShopifyInsertId(
  id: unknown,
  ...parts: readonly unknown[]
): string | undefined {
  const ids = [id, ...parts].map(asShopifyId);
  return ids.includes(undefined) ? undefined : ['shopify', ...ids].join(':');
}
