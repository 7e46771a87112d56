import type { JsonObject } from '../../json/json.js';
import type { Person } from '../../ingest/source-entry.js';
import { asObject, asText, compact } from '../json.js';
import { asObjects } from './goods.js';
import { readBillingPhone, readCustomerId, customerPersonKey } from './person.js';
import type { WooMap, WooRequest } from './request.js';

/**
 * The payload is a customer's account (REST API v1 to v3). Its e-mail address is the account's; the
 * billing address may name another one, and then the billing phone is that person's.
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

/** Plugins keep anything in meta data, secrets included: only what is asked for by name. */
function selectMetaData(value: unknown, names: readonly string[]): JsonObject {
  const wanted = new Set(names);
  const pairs = asObjects(value).flatMap(({ key, value: meta }): [string, unknown][] => {
    const name = asText(key);
    return name !== undefined && wanted.has(name) ? [[name, meta]] : [];
  });
  return Object.fromEntries(pairs);
}
