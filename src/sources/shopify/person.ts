import type { JsonObject } from '../../json/json.js';
import { createToE164 } from '../../ingest/phone.js';
import { isEmail } from '../../ingest/schema.js';
import { asObject, asText } from '../json.js';
import { asShopifyId } from './fields.js';
import { nothingRead, type Reading } from './reading.js';
import type { KnownPerson, Person } from '../../ingest/source-entry.js';

/**
 * Identifiers are joined only where Shopify says that they belong to one person. An order carries two
 * descriptions of its buyer: its own contacts (`email`, `phone`) and the customer it is filed under.
 * They differ for orders of a till account, of a company or of staff. The contacts name the buyer, and
 * the customer adds its id and its own contacts only where it has the same address or number.
 */

/** Without a default country: an address names its own. */
const toE164 = createToE164();

type Contacts = { readonly email?: string | undefined; readonly phone?: string | undefined };

/** The buyer of an order or a checkout, a guest or a customer. Empty where nothing names one. */
export function readShopifyBuyer(payload: JsonObject): Person {
  const customer = readShopifyCustomer(asObject(payload.customer));
  const email = findEmail(payload.email, payload.contact_email);
  // Text that is no address, such as `n/a`, does not hide the address of the customer.
  const isHidden = email !== undefined && !isEmail(email) && customer.email !== undefined;
  const contacts: Contacts = {
    email: isHidden ? undefined : email,
    phone: asText(payload.phone) ?? asText(payload.sms_marketing_phone),
  };
  const buyer = joinCustomer(contacts, customer);
  return Object.keys(buyer).length > 0 ? buyer : toPerson({ phone: findAddressPhone(payload) });
}

/** Says that `email` of an order or a checkout is no address, where the customer's took its place. */
export function readBuyerEmail(payload: JsonObject): Reading {
  const text = asText(payload.email);
  const isKept = text === undefined || isEmail(text) || readShopifyBuyer(payload).email === text;
  if (isKept) return nothingRead;
  const detail = 'is no e-mail address; it stays as the property email_invalid';
  const warning = { code: 'email_unusable', pointer: '/email', detail };
  return { fields: {}, unread: { email_invalid: text }, warnings: [warning] };
}

/** The person of a payload of customers/*. The phone of an address may be the recipient's of a gift. */
export function readShopifyCustomer(customer: JsonObject): Person {
  return toPerson({
    email: asText(customer.email),
    phone: asText(customer.phone),
    id: asShopifyId(customer.id),
  });
}

/** The name under which the buyer of an order is remembered: refunds and shipments name an order only. */
export function orderPersonKey(shop: string, orderId: string): string {
  return `order:${shop}:${orderId}`;
}

/** What a payload of orders/* says of its buyer. */
export function listKnownBuyers(shop: string, payload: JsonObject): readonly KnownPerson[] {
  const orderId = asShopifyId(payload.id);
  const person = readShopifyBuyer(payload);
  if (orderId === undefined || Object.keys(person).length === 0) return [];
  return [{ kind: 'order', key: orderPersonKey(shop, orderId), person }];
}

/**
 * Returns true if the order says that it has no buyer, as orders of a point of sale do. A webhook that
 * was set up without the fields of a person says nothing.
 */
export function isOrderWithoutBuyer(payload: JsonObject): boolean {
  const saysWho = 'customer' in payload || 'email' in payload;
  return saysWho && Object.keys(readShopifyBuyer(payload)).length === 0;
}

/** The first that is an e-mail address; without one the first text, which the relay reports. */
function findEmail(...values: readonly unknown[]): string | undefined {
  const texts = values.map(asText).filter((text) => text !== undefined);
  return texts.find(isEmail) ?? texts[0];
}

function joinCustomer({ email, phone }: Contacts, customer: Person): Person {
  const { phone_number: customerPhone } = customer;
  if (email !== undefined) {
    // A customer without an address may be an account that a till files all its orders under.
    const isTheirs = customer.email !== undefined && isSameEmail(email, customer.email);
    if (!isTheirs) return toPerson({ email, phone });
    // The customer's own number is the same in every order.
    return toPerson({ email, phone: customerPhone ?? phone, id: customer.distinct_id });
  }
  if (phone === undefined) return customer;
  if (customerPhone !== undefined && isSamePhone(phone, customerPhone)) return customer;
  // A number of the order is no reason to give it to the holder of an e-mail address.
  const isOfAddress = customerPhone === undefined && customer.email !== undefined;
  return isOfAddress ? customer : toPerson({ phone });
}

function isSameEmail(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase();
}

function isSamePhone(one: string, other: string): boolean {
  return (toE164(one) ?? one) === (toE164(other) ?? other);
}

/**
 * A number of an address, where nothing else names the buyer: the billing address is the buyer's, and
 * the shipping address where no other person is billed.
 */
function findAddressPhone({
  billing_address: billing,
  shipping_address: shipping,
}: JsonObject): string | undefined {
  const isBilledToOther =
    Object.keys(asObject(billing)).length > 0 && toName(billing) !== toName(shipping);
  return readAddressPhone(billing) ?? (isBilledToOther ? undefined : readAddressPhone(shipping));
}

function toName(value: unknown): string {
  const { first_name: first, last_name: last } = asObject(value);
  return [first, last].map((part) => asText(part)?.trim().toLowerCase() ?? '').join(' ');
}

/** As the buyer typed it: mostly without the country's prefix. One that is no number names nobody. */
function readAddressPhone(value: unknown): string | undefined {
  const address = asObject(value);
  const phone = asText(address.phone);
  if (phone === undefined) return undefined;
  return toE164(phone, asText(address.country_code) ?? asText(address.country)) ?? undefined;
}

type Found = {
  readonly email?: string | undefined;
  readonly phone?: string | undefined;
  readonly id?: string | undefined;
};

function toPerson({ email, phone, id }: Found): Person {
  return {
    ...(email !== undefined && { email }),
    ...(phone !== undefined && { phone_number: phone }),
    ...(id !== undefined && { distinct_id: id }),
  };
}
