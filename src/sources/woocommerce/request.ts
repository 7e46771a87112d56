import { hash } from 'node:crypto';
import type { JsonObject } from '../../json/json.js';
import type { SourcePost } from '../../ingest/source-entry.js';
import { asId, asList, asObject, asText } from '../json.js';

/** Settings of the source, by what they are for. */
export type WooRules = {
  /** WOOCOMMERCE_ORDER_VALUE. */
  readonly orderValue: 'total' | 'subtotal_and_shipping';
  /** WOOCOMMERCE_CUSTOMER_ID: false keeps a customer's id as a property. */
  readonly hasCustomerIds: boolean;
  /** WOOCOMMERCE_CUSTOMER_META. */
  readonly customerMeta: readonly string[];
};

/** One webhook: what its headers name, and its body as JSON. */
export type WooRequest = {
  /** Such as `order.updated`. */
  readonly topic: string;
  /** Host of the shop, such as `shop.example.com`; empty where nothing names it. */
  readonly shop: string;
  readonly payload: JsonObject;
  readonly rules: WooRules;
};

export type WooMap = (request: WooRequest) => Pick<SourcePost, 'entries' | 'people' | 'skipped'>;

/** Host of the shop: by the links in the payload, which are signed, else by the header. */
export function findShopHost(payload: JsonObject, header: string | undefined): string {
  const self = asList(asObject(payload._links).self);
  const url = [asText(asObject(self[0]).href), header].find(
    (each): each is string => each !== undefined && URL.canParse(each),
  );
  return url === undefined ? '' : new URL(url).host;
}

/**
 * The id of an event of an order, the same whichever delivery the event comes from. Orders are counted
 * within a shop, so that the id alone would be that of another shop's order, too. The order key is
 * unique and never changes, but it opens the order to a guest, so it is hashed.
 */
export function createWooInsertId(
  { payload, shop }: Pick<WooRequest, 'payload' | 'shop'>,
  part?: string,
): string | undefined {
  const id = asId(payload.id);
  const key = asText(payload.order_key);
  if (id === undefined) return undefined;
  const order = key === undefined ? shop : hash('sha256', key, 'hex').slice(0, 16);
  return ['woocommerce', order, id, ...(part === undefined ? [] : [part])].join(':').slice(0, 255);
}
