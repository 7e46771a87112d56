import type { JsonObject } from '../../json.js';
import { createToE164 } from '../../ingest/phone.js';
import { asObject, asText } from '../json.js';
import { toId } from './fields.js';
import type { KnownPerson, Person } from '../../ingest/source-entry.js';

/** Without a default country: an address names its own. */
const toE164 = createToE164();

/** Whom an order or a checkout is about: the buyer, a guest or a customer. All of it may be hidden. */
export function toBuyer(payload: JsonObject): Person {
  const customer = asObject(payload.customer);
  const email = asText(payload.email) ?? asText(payload.contact_email) ?? asText(customer.email);
  const phone =
    asText(payload.phone) ??
    asText(payload.sms_marketing_phone) ??
    asText(customer.phone) ??
    // The buyer's before the recipient's, who may be somebody else.
    toAddressPhone(payload.billing_address) ??
    toAddressPhone(payload.shipping_address) ??
    toAddressPhone(customer.default_address);
  return toPerson({ email, phone, id: toId(customer.id) });
}

/** Whom a payload of customers/* is about. */
export function toCustomer(payload: JsonObject): Person {
  return toPerson({
    email: asText(payload.email),
    phone: asText(payload.phone) ?? toAddressPhone(payload.default_address),
    id: toId(payload.id),
  });
}

/** The name under which an order's buyer is remembered, for refunds name nobody. */
export function toOrderKey(shop: string, orderId: string): string {
  return `order:${shop}:${orderId}`;
}

/** What any payload of orders/* tells of its buyer. */
export function toKnownBuyers(shop: string, payload: JsonObject): readonly KnownPerson[] {
  const orderId = toId(payload.id);
  const person = toBuyer(payload);
  if (orderId === undefined || Object.keys(person).length === 0) return [];
  return [{ kind: 'order', key: toOrderKey(shop, orderId), person }];
}

/** Numbers in addresses are as the buyer typed them: mostly without the country's prefix. */
function toAddressPhone(value: unknown): string | undefined {
  const address = asObject(value);
  const phone = asText(address.phone);
  if (phone === undefined) return undefined;
  return toE164(phone, asText(address.country_code) ?? asText(address.country)) ?? phone;
}

type Found = Readonly<Record<'email' | 'phone' | 'id', string | undefined>>;

function toPerson({ email, phone, id }: Found): Person {
  return {
    ...(email !== undefined && { email }),
    ...(phone !== undefined && { phone_number: phone }),
    ...(id !== undefined && { distinct_id: id }),
  };
}
