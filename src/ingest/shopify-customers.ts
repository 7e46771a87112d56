import type { JsonObject } from '../json.js';
import { given, toObject, toText } from './shopify-fields.js';
import { toAmount, toDistinct } from './shopify-goods.js';
import { toCustomer } from './shopify-person.js';
import type { ShopifyMap } from './shopify-request.js';

/**
 * The payload is Shopify's Customer (REST Admin API, 2026-04). Consent to marketing is left alone:
 * Klaviyo takes it by subscribing, not by importing.
 */
export const mapCustomer: ShopifyMap = ({ payload }) => {
  const address = toObject(payload.default_address);
  const entry = given({
    ...toCustomer(payload),
    first_name: toText(payload.first_name),
    last_name: toText(payload.last_name),
    organization: toText(address.company),
    location: toLocation(address),
    properties: given({
      'Shopify Tags': toTags(payload.tags),
      'Shopify Orders Count': toAmount(payload.orders_count),
      'Shopify Total Spent': toAmount(payload.total_spent),
    }),
  });
  return { entries: [{ lane: 'profiles', entry, index: 0 }], skipped: [] };
};

function toLocation(address: JsonObject): JsonObject {
  return given({
    address1: toText(address.address1),
    address2: toText(address.address2),
    city: toText(address.city),
    region: toText(address.province),
    zip: toText(address.zip),
    country: toText(address.country) ?? toText(address.country_code),
  });
}

/** As text with commas between them. */
function toTags(value: unknown): readonly string[] {
  return toDistinct((toText(value) ?? '').split(',').map((tag) => toText(tag.trim())));
}
