import { createToE164 } from '../../ingest/phone.js';
import type { Person } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asId, asObject, asText } from '../json.js';
import type { WooRequest } from './payload.js';

/** Without a default country, because a billing address names its own. */
const toE164 = createToE164();

/**
 * Reads the buyer of an order: its billing contact. The account of the customer may have another e-mail
 * address, which the order does not hold; the shipping address may belong to another person.
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

/** Drops a phone number that is not valid: the event of the order already reports it. */
export function dropUnreadablePhone({ phone_number: phone, ...person }: Person): Person {
  const isReadable = phone !== undefined && toE164(phone) !== null;
  return isReadable || Object.keys(person).length === 0
    ? { ...person, ...(phone !== undefined && { phone_number: phone }) }
    : person;
}

/** Reads the phone number. Buyers mostly type it without the prefix of the country. */
export function readBillingPhone(address: JsonObject): string | undefined {
  const phone = asText(address.phone);
  return phone === undefined ? undefined : (toE164(phone, asText(address.country)) ?? phone);
}

/** The id of a customer's account. Undefined for 0, which orders of guests have. */
export function readCustomerId(id: unknown): string | undefined {
  const text = asId(id);
  return text === undefined || /^0*$/.test(text) ? undefined : text;
}

/** The key under which a customer's account is kept for later orders. */
export function customerPersonKey({ shop }: Pick<WooRequest, 'shop'>, id: string): string {
  return `customer:${shop}:${id}`;
}

/** Identifies the buyer of an order without e-mail address and phone number by the account. */
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
