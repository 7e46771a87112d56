import { hashIdentifiers } from '../../identity-keys.js';
import { createToE164 } from '../../ingest/phone.js';
import { isEmail } from '../../ingest/schema.js';
import type { SourceEntry } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asObject } from '../json.js';
import { asShopifyId, type ShopifyMap } from './payload.js';
import { readShopifyCustomer } from './person.js';

/**
 * Shopify's topics about privacy, which it sends to public apps (shopify.dev, "Privacy law compliance"):
 *
 * - customers/redact becomes one erasure for each identifier of the customer.
 * - customers/data_request needs an operator, since the person gets a copy from the owner of the shop.
 * - shop/redact needs an operator, too: the relay does not keep which shop a person is from.
 */

const toE164 = createToE164();

/** The identifiers that an erasure accepts, one each. */
function listIdentifiers(payload: JsonObject): readonly JsonObject[] {
  const {
    email,
    phone_number: phone,
    distinct_id: id,
  } = readShopifyCustomer(asObject(payload.customer));
  const number = phone === undefined ? null : toE164(phone);
  return [
    ...(email !== undefined && isEmail(email) ? [{ email }] : []),
    ...(number !== null ? [{ phone_number: number }] : []),
    ...(id !== undefined ? [{ distinct_id: id }] : []),
  ];
}

export const mapCustomerRedact: ShopifyMap = ({ payload }) => {
  const entries = listIdentifiers(payload).map((entry, index): SourceEntry => {
    return { lane: 'erase', entry, index };
  });
  return { entries, skipped: entries.length === 0 ? [{ reason: 'anonymous' }] : [] };
};

export const mapDataRequest: ShopifyMap = ({ payload }) => {
  const hashes = listIdentifiers(payload).flatMap(({ email, phone_number, distinct_id }) =>
    hashIdentifiers({
      ...(typeof email === 'string' && { email }),
      ...(typeof phone_number === 'string' && { phoneNumber: phone_number }),
      ...(typeof distinct_id === 'string' && { externalId: distinct_id }),
    }),
  );
  const notice = `Shopify requests the data of a person: GET /v1/people/{hash} for ${hashes.join(', ')}`;
  return { entries: [], skipped: [{ reason: 'data_request', id: hashes.join(' '), notice }] };
};

export const mapShopRedact: ShopifyMap = ({ payload, shop }) => {
  const id = asShopifyId(payload.shop_id) ?? shop;
  const notice = `Shopify requests that the data of shop ${id} is erased: post an erasure for each of its people, or delete the data of this relay`;
  return { entries: [], skipped: [{ reason: 'shop_redact', id, notice }] };
};
