import type { FactKind } from '../../envelope.js';
import { isJsonObject, type JsonObject } from '../../json.js';
import { limits } from '../../ingest/limits.js';
import { asList, asObject, asText, compact } from '../json.js';
import type { KnownPerson, Person } from '../../ingest/source-entry.js';

/** Whom Stripe's objects are about. Fields by the API reference of stripe-node 23.1.0, and what older API versions have. */

/** Ids of what an object is part of. */
export type StripeRefs = {
  readonly payment?: string | undefined;
  readonly charge?: string | undefined;
  readonly invoice?: string | undefined;
  readonly customer?: string | undefined;
};

type PersonKey = { readonly kind: FactKind; readonly key: string };

export type PeopleRules = {
  /** Name in a customer's metadata that holds the shop's own id of the customer. */
  readonly customerIdKey?: string | undefined;
};

/** An id, also of an object that stands expanded in its place. */
export function readId(value: unknown): string | undefined {
  const id = asText(isJsonObject(value) ? value.id : value);
  return id !== undefined && id.length <= limits.uniqueIdChars ? id : undefined;
}

export function toRefs(object: JsonObject): StripeRefs {
  const kind = object.object;
  const own = readId(object.id);
  const payment = asObject(asObject(asList(asObject(object.payments).data)[0]).payment);
  const charge = readId(object.charge) ?? readId(payment.charge);
  return {
    payment:
      kind === 'payment_intent'
        ? own
        : (readId(object.payment_intent) ?? readId(payment.payment_intent)),
    charge: kind === 'charge' ? own : (charge ?? readId(toCharge(object))),
    invoice: kind === 'invoice' ? own : readId(object.invoice),
    customer: kind === 'customer' ? own : readId(object.customer),
  };
}

/** The charge of a payment intent: before API version 2022-11-15 a list, newest first. */
function toCharge({ latest_charge: latest, charges }: JsonObject): unknown {
  return latest ?? asList(asObject(charges).data)[0];
}

/** Whom an object itself names; empty where it only has ids of others. */
export function toPerson(object: JsonObject, rules: PeopleRules): Person {
  const own = toContact(object);
  const customer = object.object === 'customer' ? object : object.customer;
  const isReachable = own.email !== undefined || own.phone_number !== undefined;
  return compact({
    ...(isReachable ? own : { ...toCustomerContact(asObject(customer)), ...own }),
    distinct_id: own.distinct_id ?? toCustomerId(customer, rules),
  });
}

function toContact(object: JsonObject): Person {
  switch (object.object) {
    case 'charge':
      return toChargeContact(object);
    case 'payment_intent': {
      const email = asText(object.receipt_email);
      return email === undefined ? toChargeContact(asObject(toCharge(object))) : compact({ email });
    }
    case 'refund':
      return toChargeContact(asObject(object.charge));
    case 'checkout.session': {
      const details = asObject(object.customer_details);
      return compact({
        email: asText(details.email) ?? asText(object.customer_email),
        phone_number: asText(details.phone),
        distinct_id: asText(object.client_reference_id),
      });
    }
    case 'invoice':
      return compact({
        email: asText(object.customer_email),
        phone_number: asText(object.customer_phone),
      });
    default:
      return {};
  }
}

function toChargeContact(charge: JsonObject): Person {
  const billing = asObject(charge.billing_details);
  return compact({
    email: asText(billing.email) ?? asText(charge.receipt_email),
    phone_number: asText(billing.phone),
  });
}

function toCustomerContact({ email, phone }: JsonObject): Person {
  return compact({ email: asText(email), phone_number: asText(phone) });
}

/**
 * With a key the shop's own id names the customer, and an object that only has Stripe's does not tell
 * it: whoever remembers the customer does (`toPersonKeys`). Stripe's would name a second profile.
 */
function toCustomerId(customer: unknown, { customerIdKey: key }: PeopleRules): string | undefined {
  if (key === undefined) return readId(customer);
  if (!isJsonObject(customer)) return undefined;
  return readId(asObject(customer.metadata)[key]) ?? readId(customer);
}

/** Names to ask for a person under: what an object told itself comes before what follows from others. */
export function toPersonKeys(refs: StripeRefs, account: string | undefined): readonly string[] {
  const sure = toKeys(refs, account);
  return [...sure, ...sure.map(toHint)].map(({ key }) => key);
}

/**
 * What an object tells of the person behind its ids. A customer's id alone, and what a payment says of
 * its customer, go under names of their own (hints): a payment intent that comes after its charge knows
 * less, and must not make the e-mail address forgotten.
 */
export function toKnownPeople(
  object: JsonObject,
  account: string | undefined,
  rules: PeopleRules,
): readonly KnownPerson[] {
  const { customer, ...others } = toRefs(object);
  const person = toPerson(object, rules);
  const isReachable = person.email !== undefined || person.phone_number !== undefined;
  const tell = (keys: readonly PersonKey[], who: Person): readonly KnownPerson[] =>
    Object.keys(who).length === 0 ? [] : keys.map((key) => ({ ...key, person: who }));
  const payments = toKeys(others, account);
  const customers = toKeys({ customer }, account);
  if (object.object === 'customer') return tell(customers, person);
  const expanded = asObject(object.customer);
  return [
    ...tell(isReachable ? payments : payments.map(toHint), person),
    ...(isReachable ? tell(customers.map(toHint), person) : []),
    ...(expanded.object === 'customer' ? tell(customers, toPerson(expanded, rules)) : []),
  ];
}

function toKeys(
  { payment, charge, customer }: StripeRefs,
  account: string | undefined,
): readonly PersonKey[] {
  const prefix = account === undefined ? '' : `${account}:`;
  const ids = [
    ['payment', payment],
    ['charge', charge],
    ['customer', customer],
  ] as const;
  return ids.flatMap(([kind, id]) =>
    id === undefined ? [] : [{ kind, key: `${prefix}${kind}:${id}` }],
  );
}

function toHint({ kind, key }: PersonKey): PersonKey {
  return { kind, key: `hint:${key}` };
}
