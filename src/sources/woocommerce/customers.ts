import type { Person } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asObject, asObjects, asText, compact } from '../json.js';
import type { WooMap, WooRequest } from './payload.js';
import { customerPersonKey, readBillingPhone, readCustomerId } from './person.js';

/**
 * Maps customer.created and customer.updated. The payload is a customer's account (REST API v1 to v3).
 * If the billing address has another e-mail address than the account, its phone number belongs to another
 * person and is not used.
 */
export const mapWooCustomer: WooMap = (request) => {
  const { payload, rules } = request;
  const id = readCustomerId(payload.id);
  const email = asText(payload.email);
  const person: Person = {
    ...(email !== undefined && { email }),
    ...(id !== undefined && rules.hasCustomerIds && { distinct_id: id }),
  };
  if (Object.keys(person).length === 0) {
    return { entries: [], people: [], skipped: [{ reason: 'anonymous', id }] };
  }
  const known =
    id === undefined
      ? []
      : [{ kind: 'customer' as const, key: customerPersonKey(request, id), person }];
  const entry = createWooProfile(request, person);
  return { entries: [{ lane: 'profiles', entry, index: 0, id }], people: known, skipped: [] };
};

function createWooProfile({ payload, rules }: WooRequest, person: Person): JsonObject {
  const billing = asObject(payload.billing);
  const billingEmail = asText(billing.email)?.toLowerCase();
  const isOwn = billingEmail === undefined || billingEmail === person.email?.toLowerCase();
  const phone = isOwn ? readBillingPhone(billing) : undefined;
  return compact({
    ...person,
    phone_number: phone,
    first_name: asText(payload.first_name),
    last_name: asText(payload.last_name),
    organization: isOwn ? asText(billing.company) : undefined,
    location: isOwn ? readWooLocation(billing) : undefined,
    properties: compact({
      'WooCommerce Customer Id': readCustomerId(payload.id),
      'WooCommerce Role': asText(payload.role),
      'WooCommerce Paying Customer':
        typeof payload.is_paying_customer === 'boolean' ? payload.is_paying_customer : undefined,
      ...selectMetaData(payload.meta_data, rules.customerMeta),
    }),
  });
}

function readWooLocation(address: JsonObject): JsonObject | undefined {
  const location = compact({
    address1: asText(address.address_1),
    address2: asText(address.address_2),
    city: asText(address.city),
    region: asText(address.state),
    zip: asText(address.postcode),
    country: asText(address.country),
  });
  return Object.keys(location).length === 0 ? undefined : location;
}

/** Selects the meta data that WOOCOMMERCE_CUSTOMER_META names. Plugins keep secrets in meta data, too. */
function selectMetaData(value: unknown, names: readonly string[]): JsonObject {
  const wanted = new Set(names);
  const pairs = asObjects(value).flatMap(({ key, value: meta }): [string, unknown][] => {
    const name = asText(key);
    return name !== undefined && wanted.has(name) ? [[name, meta]] : [];
  });
  return Object.fromEntries(pairs);
}
