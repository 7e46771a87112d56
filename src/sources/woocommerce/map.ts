import type { SourcePost } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asId, asObject, asText } from '../json.js';
import { mapWooCustomer } from './customers.js';
import { mapWooOrder } from './orders.js';
import { findShopHost, type WooMap, type WooRules } from './payload.js';

/** The function that maps each topic. The relay skips other topics. */
const maps: ReadonlyMap<string, WooMap> = new Map([
  ['order.created', mapWooOrder],
  ['order.updated', mapWooOrder],
  ['order.restored', mapWooOrder],
  ['customer.created', mapWooCustomer],
  ['customer.updated', mapWooCustomer],
]);

type Posted = {
  readonly topic: string;
  /** X-WC-Webhook-Source: the URL of the shop. */
  readonly shopUrl: string | undefined;
  readonly body: unknown;
  readonly rules: WooRules;
};

/**
 * Maps one webhook. The delivery id in the headers is not used: WooCommerce makes it of the webhook's id
 * and the current second, so that two orders of one second share it.
 */
export function mapWooWebhook({ topic, shopUrl, body, rules }: Posted): SourcePost {
  const payload = asObject(body);
  const reason = findWooSkipReason(topic, payload);
  const request = { topic, shop: findShopHost(payload, shopUrl), payload, rules };
  const map = reason === null ? maps.get(topic) : undefined;
  const made = map?.(request) ?? {
    entries: [],
    people: [],
    skipped: [{ reason: reason ?? 'unmapped' }],
  };
  const id = asId(payload.id);
  const skipped = made.skipped.map((part) => ({ ...(id !== undefined && { id }), ...part }));
  return { source: 'woocommerce', topic, ...made, skipped };
}

/** The reason why a payload holds nothing to map. Null: the map of its topic decides. */
function findWooSkipReason(topic: string, payload: JsonObject): string | null {
  if (topic.endsWith('.deleted')) return 'deleted';
  if (!maps.has(topic)) return 'unmapped';
  // An error in place of the order: the webhook's user may not see it, or was deleted.
  if (asText(payload.code)?.startsWith('woocommerce_rest_') === true) return 'shop_error';
  // REST API before v1: the order is a member of the payload.
  if (payload.id === undefined && ('order' in payload || 'customer' in payload)) {
    return 'legacy_version';
  }
  return asId(payload.id) === undefined ? 'no_payload' : null;
}
