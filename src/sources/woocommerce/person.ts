import type { JsonObject } from '../../json/json.js';
import { createToE164 } from '../../ingest/phone.js';
import type { Person } from '../../ingest/source-entry.js';
import { asId, asObject, asText } from '../json.js';
import type { WooRequest } from './request.js';

/** Without a default country: a billing address names its own. */
const toE164 = createToE164();

/**
 * The buyer of an order is the billing contact. The e-mail address of a customer's account may
 * be another, and an order does not have it; the shipping address may be somebody else's.
 */
export function readWooBuyer({ billing }: JsonObject): Person {
  const address = asObject(billing);
  const email = asText(address.email);
  const phone = readBillingPhone(address);
  return {
    ...(email !== undefined && { email }),
    ...(phone !== undefined && { phone_number: phone }),
  };
}

/** Without a number that is none: one event of an order is enough to report it. */
export function dropUnreadablePhone({ phone_number: phone, ...person }: Person): Person {
  const isReadable = phone !== undefined && toE164(phone) !== null;
  return isReadable || Object.keys(person).length === 0
    ? { ...person, ...(phone !== undefined && { phone_number: phone }) }
    : person;
}

/** A number as its owner typed it, mostly without the country's prefix. */
export function readBillingPhone(address: JsonObject): string | undefined {
  const phone = asText(address.phone);
  return phone === undefined ? undefined : (toE164(phone, asText(address.country)) ?? phone);
}

/** The id of a customer's account. Absent where the order is a guest's: 0. */
export function readCustomerId(id: unknown): string | undefined {
  const text = asId(id);
  return text === undefined || /^0*$/.test(text) ? undefined : text;
}

/** The name under which a customer's account is remembered. */
export function customerPersonKey({ shop }: Pick<WooRequest, 'shop'>, id: string): string {
  return `customer:${shop}:${id}`;
}

/** For an order without an e-mail address and a phone number. */
export function identifyByAccount(request: WooRequest): {
  readonly personKeys?: readonly string[];
  readonly fallback?: Person;
} {
  const id = readCustomerId(request.payload.customer_id);
  if (id === undefined) return {};
  const personKeys = [customerPersonKey(request, id)];
  return request.rules.hasCustomerIds
    ? { personKeys, fallback: { distinct_id: id } }
    : { personKeys };
}
