import type { JsonObject } from '../../json/json.js';
import { limits } from '../../ingest/limits.js';
import { asObject, asText } from '../json.js';
import { dropEmpty } from './fields.js';
import { distinct } from './goods.js';
import { toAmountProperty } from './money.js';
import { readShopifyCustomer } from './person.js';
import type { ShopifyMap } from './request.js';

/**
 * The payload is Shopify's Customer (REST Admin API, 2026-04). Consent to marketing is not mapped:
 * Klaviyo takes it by subscribing, not by importing.
 */
export const mapShopifyCustomer: ShopifyMap = ({ payload }) => {
  const address = asObject(payload.default_address);
  const entry = dropEmpty({
    ...readShopifyCustomer(payload),
    first_name: asText(payload.first_name),
    last_name: asText(payload.last_name),
    organization: asText(address.company),
    location: toLocation(address),
    properties: dropEmpty({
      'Shopify Tags': toTags(payload.tags),
      'Shopify Orders Count': toAmountProperty(payload.orders_count),
      'Shopify Total Spent': toAmountProperty(payload.total_spent),
    }),
  });
  return { entries: [{ lane: 'profiles', entry, index: 0 }], skipped: [] };
};

function toLocation(address: JsonObject): JsonObject {
  return dropEmpty({
    address1: asText(address.address1),
    address2: asText(address.address2),
    city: asText(address.city),
    region: asText(address.province),
    zip: asText(address.zip),
    country: asText(address.country) ?? asText(address.country_code),
  });
}

/** Text with commas between the tags. One more than Klaviyo takes is enough to refuse all of them. */
function toTags(value: unknown): readonly string[] {
  const tags = (asText(value) ?? '').split(',', limits.arrayLength + 1);
  return distinct(tags.map((tag) => asText(tag.trim())));
}
