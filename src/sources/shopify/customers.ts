import { limits } from '../../ingest/limits.js';
import type { JsonObject } from '../../json/json.js';
import { asObject, asText, distinct } from '../json.js';
import { mapCustomerConsents } from './consent.js';
import { toAmountProperty } from './money.js';
import { dropEmpty, type ShopifyMap } from './payload.js';
import { readShopifyCustomer } from './person.js';

/** Maps customers/create and customers/update. The payload is Shopify's Customer (REST Admin API, 2026-04). */
export const mapShopifyCustomer: ShopifyMap = ({ payload }) => {
  const address = asObject(payload.default_address);
  const entry = dropEmpty({
    ...readShopifyCustomer(payload),
    first_name: asText(payload.first_name),
    last_name: asText(payload.last_name),
    organization: asText(address.company),
    location: readShopifyLocation(address),
    properties: dropEmpty({
      'Shopify Tags': splitTags(payload.tags),
      'Shopify Orders Count': toAmountProperty(payload.orders_count),
      'Shopify Total Spent': toAmountProperty(payload.total_spent),
    }),
  });
  const consents = mapCustomerConsents(payload, 1);
  return {
    entries: [{ lane: 'profiles', entry, index: 0 }, ...consents.entries],
    skipped: consents.skipped,
  };
};

function readShopifyLocation(address: JsonObject): JsonObject {
  return dropEmpty({
    address1: asText(address.address1),
    address2: asText(address.address2),
    city: asText(address.city),
    region: asText(address.province),
    zip: asText(address.zip),
    country: asText(address.country) ?? asText(address.country_code),
  });
}

/** Splits a comma-separated text. It stops one tag above Klaviyo's maximum, where validation fails anyway. */
function splitTags(value: unknown): readonly string[] {
  const tags = (asText(value) ?? '').split(',', limits.arrayLength + 1);
  return distinct(tags.map((tag) => asText(tag.trim())));
}
