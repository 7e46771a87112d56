import { createToE164 } from '../../ingest/phone.js';
import { isEmail } from '../../ingest/schema.js';
import type { KnownPerson, Person } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asObject, asText } from '../json.js';
import { asShopifyId, nothingRead, type Reading } from './payload.js';

/**
 * Identifies buyers and customers. Identifiers are joined only if Shopify says that they belong to one
 * person. An order describes its buyer twice: by its own contacts (`email`, `phone`) and by its
 * customer. The two differ for orders of a till account, of a company or of staff. The contacts identify
 * the buyer. The customer adds its id and contacts only if it has the same e-mail address or number.
 */

/** Without a default country, because each address names its own. */
const toE164 = createToE164();

type Contacts = { readonly email?: string | undefined; readonly phone?: string | undefined };

/** Reads the buyer of an order or a checkout: a guest or a customer. Empty if nothing identifies one. */
export function readShopifyBuyer(payload: JsonObject): Person {
  const customer = readShopifyCustomer(asObject(payload.customer));
  const email = findBuyerEmail(payload.email, payload.contact_email);
  // A text that is not an e-mail address, such as `n/a`, does not hide the address of the customer.
  const isHidden = email !== undefined && !isEmail(email) && customer.email !== undefined;
  const contacts: Contacts = {
    email: isHidden ? undefined : email,
    phone: asText(payload.phone) ?? asText(payload.sms_marketing_phone),
  };
  const buyer = joinContactsAndCustomer(contacts, customer);
  return Object.keys(buyer).length > 0
    ? buyer
    : createShopifyPerson({ phone: findAddressPhone(payload) });
}

/** Gives a warning if `email` is not an e-mail address and the customer's address replaces it. */
export function readBuyerEmail(payload: JsonObject): Reading {
  const text = asText(payload.email);
  const isKept = text === undefined || isEmail(text) || readShopifyBuyer(payload).email === text;
  if (isKept) return nothingRead;
  const detail = 'is no e-mail address; it stays as the property email_invalid';
  const warning = { code: 'email_unusable', pointer: '/email', detail };
  return { fields: {}, unread: { email_invalid: text }, warnings: [warning] };
}

/** Reads a customer. Numbers of its addresses are not used: they may belong to the recipient of a gift. */
export function readShopifyCustomer(customer: JsonObject): Person {
  return createShopifyPerson({
    email: asText(customer.email),
    phone: asText(customer.phone),
    id: asShopifyId(customer.id),
  });
}

/** The key under which the buyer of an order is kept for refunds and shipments, which name the order alone. */
export function orderPersonKey(shop: string, orderId: string): string {
  return `order:${shop}:${orderId}`;
}

/** The buyer of an order, to be kept for later requests. Empty if the order has none. */
export function listKnownBuyers(shop: string, payload: JsonObject): readonly KnownPerson[] {
  const orderId = asShopifyId(payload.id);
  const person = readShopifyBuyer(payload);
  if (orderId === undefined || Object.keys(person).length === 0) return [];
  return [{ kind: 'order', key: orderPersonKey(shop, orderId), person }];
}

/**
 * Returns true if the order has the fields of a buyer and all are empty, as at a point of sale. Returns
 * false if the webhook was set up without these fields: then the buyer is unknown.
 */
export function isOrderWithoutBuyer(payload: JsonObject): boolean {
  const saysWho = 'customer' in payload || 'email' in payload;
  return saysWho && Object.keys(readShopifyBuyer(payload)).length === 0;
}

/** The first e-mail address; without one the first text, which validation reports. */
function findBuyerEmail(...values: readonly unknown[]): string | undefined {
  const texts = values.map(asText).filter((text) => text !== undefined);
  return texts.find(isEmail) ?? texts[0];
}

function joinContactsAndCustomer({ email, phone }: Contacts, customer: Person): Person {
  const { phone_number: customerPhone } = customer;
  if (email !== undefined) {
    // A customer without an e-mail address may be the account of a till, which has all its orders.
    const isTheirs = customer.email !== undefined && isSameEmail(email, customer.email);
    if (!isTheirs) return createShopifyPerson({ email, phone });
    // The number of the customer is the same in every order, so it is preferred.
    return createShopifyPerson({ email, phone: customerPhone ?? phone, id: customer.distinct_id });
  }
  if (phone === undefined) return customer;
  if (customerPhone !== undefined && isSamePhone(phone, customerPhone)) return customer;
  // The number of the order does not prove that its caller owns the customer's e-mail address.
  const isOfAddress = customerPhone === undefined && customer.email !== undefined;
  return isOfAddress ? customer : createShopifyPerson({ phone });
}

function isSameEmail(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase();
}

function isSamePhone(one: string, other: string): boolean {
  return (toE164(one) ?? one) === (toE164(other) ?? other);
}

/**
 * The phone number of an address, if nothing else identifies the buyer. The billing address belongs to
 * the buyer; the shipping address does if no other person is billed.
 */
function findAddressPhone({
  billing_address: billing,
  shipping_address: shipping,
}: JsonObject): string | undefined {
  const isBilledToOther =
    Object.keys(asObject(billing)).length > 0 && readFullName(billing) !== readFullName(shipping);
  return readAddressPhone(billing) ?? (isBilledToOther ? undefined : readAddressPhone(shipping));
}

function readFullName(value: unknown): string {
  const { first_name: first, last_name: last } = asObject(value);
  return [first, last].map((part) => asText(part)?.trim().toLowerCase() ?? '').join(' ');
}

/** Buyers mostly type a number without the prefix of its country. Undefined if it is not a phone number. */
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

function createShopifyPerson({ email, phone, id }: Found): Person {
  return {
    ...(email !== undefined && { email }),
    ...(phone !== undefined && { phone_number: phone }),
    ...(id !== undefined && { distinct_id: id }),
  };
}
