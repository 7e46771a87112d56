import type { FactKind } from '../../model/fact.js';
import type { KnownPerson, Person, SourceEntry } from '../../ingest/source-entry.js';
import { limits } from '../../ingest/limits.js';
import { isJsonObject, type JsonObject } from '../../json/json.js';
import { asList, asObject, asText, compact } from '../json.js';

/**
 * Whom Stripe's objects are about. Fields by the API reference of stripe-node 23.1.0, and those of older
 * API versions.
 *
 * A customer's own contact is on the customer, on its invoices and on its checkout sessions. The contact
 * on a charge or a payment intent (`billing_details`, `receipt_email`) is of the one who pays, which may
 * be somebody else: it identifies the person only where no customer with a contact is known, and it is
 * never joined with the customer's id.
 */

/** Ids of what an object is part of. */
export type StripeReferences = {
  readonly payment?: string | undefined;
  readonly charge?: string | undefined;
  readonly invoice?: string | undefined;
  readonly customer?: string | undefined;
};

export type PeopleRules = {
  /** Name in a customer's metadata that holds the shop's own id of the customer. */
  readonly customerIdKey?: string | undefined;
  /** False: `client_reference_id` of a checkout session is no id of a person. Absent: true. */
  readonly takesClientReference?: boolean | undefined;
};

/** The members of an entry that say whom it is about. `entry` holds the identifiers. */
export type StripeIdentity = Pick<SourceEntry, 'personKeys' | 'fallback' | 'idKeys'> & {
  readonly person: Person;
};

/** An id, also of an object that stands expanded in its place. */
export function readStripeId(value: unknown): string | undefined {
  const id = asText(isJsonObject(value) ? value.id : value);
  return id !== undefined && id.length <= limits.uniqueIdChars ? id : undefined;
}

export function readReferences(object: JsonObject): StripeReferences {
  const kind = object.object;
  const own = readStripeId(object.id);
  const payment = asObject(asObject(asList(asObject(object.payments).data)[0]).payment);
  const charge = readStripeId(object.charge) ?? readStripeId(payment.charge);
  return {
    payment:
      kind === 'payment_intent'
        ? own
        : (readStripeId(object.payment_intent) ?? readStripeId(payment.payment_intent)),
    charge: kind === 'charge' ? own : (charge ?? readStripeId(findCharge(object))),
    invoice: kind === 'invoice' ? own : readStripeId(object.invoice),
    customer: kind === 'customer' ? own : readStripeId(findCustomer(object)),
  };
}

/** The charge of a payment intent. API versions before 2022-11-15 have a list of charges, newest first. */
function findCharge({ latest_charge: latest, charges }: JsonObject): unknown {
  return latest ?? asList(asObject(charges).data)[0];
}

/** An id or an object. Refunds and disputes have the customer of their charge alone. */
function findCustomer(object: JsonObject): unknown {
  return object.customer ?? asObject(object.charge).customer;
}

/** What an object says of the person, in the order in which it counts. */
type NamedPeople = {
  /** The customer itself, where the object is one or holds one that has a contact. */
  readonly customer?: Person | undefined;
  /** The shop's own id, in the customer's metadata. */
  readonly ownId?: string | undefined;
  /** The shop's id of the person, on a checkout session. */
  readonly reference?: string | undefined;
  /** A contact that Stripe gives as the customer's. */
  readonly contact: Person;
  /** A contact of the one who paid. */
  readonly payer: Person;
};

function readNamedPeople(object: JsonObject, rules: PeopleRules): NamedPeople {
  const { customerIdKey: key, takesClientReference = true } = rules;
  const given = object.object === 'customer' ? object : asObject(findCustomer(object));
  const contact = createContact(given.email, given.phone);
  const ownId = key === undefined ? undefined : readStripeId(asObject(given.metadata)[key]);
  const isKnown = object.object === 'customer' || !isEmptyPerson(contact);
  const isSession = object.object === 'checkout.session';
  return {
    ownId,
    customer: isKnown
      ? compact({ ...contact, distinct_id: ownId ?? readStripeId(given.id) })
      : undefined,
    reference:
      isSession && takesClientReference ? readStripeId(object.client_reference_id) : undefined,
    contact: readCustomerContact(object),
    payer: readPayer(object),
  };
}

function readCustomerContact(object: JsonObject): Person {
  if (object.object === 'invoice') {
    return createContact(object.customer_email, object.customer_phone);
  }
  if (object.object !== 'checkout.session') return {};
  const { email, phone } = asObject(object.customer_details);
  return createContact(asText(email) ?? object.customer_email, phone);
}

function readPayer(object: JsonObject): Person {
  switch (object.object) {
    case 'charge':
      return readChargePayer(object);
    case 'payment_intent':
      return asText(object.receipt_email) === undefined
        ? readChargePayer(asObject(findCharge(object)))
        : createContact(object.receipt_email, undefined);
    case 'refund':
    case 'dispute':
      return readChargePayer(asObject(object.charge));
    default:
      return {};
  }
}

/** A billing phone may be shared, such as a household's: it identifies only where there is no e-mail. */
function readChargePayer(charge: JsonObject): Person {
  const billing = asObject(charge.billing_details);
  const email = asText(billing.email) ?? asText(charge.receipt_email);
  return email === undefined ? createContact(undefined, billing.phone) : { email };
}

function createContact(email: unknown, phone: unknown): Person {
  return compact({ email: asText(email), phone_number: asText(phone) });
}

function isEmptyPerson(person: Person): boolean {
  return Object.keys(person).length === 0;
}

/** Stripe's id of a customer would name a second person where the shop has an id of its own. */
function selectStripeId({ customer }: StripeReferences, { customerIdKey }: PeopleRules): Person {
  return customer === undefined || customerIdKey !== undefined ? {} : { distinct_id: customer };
}

export function identifyStripePerson(
  object: JsonObject,
  account: string | undefined,
  rules: PeopleRules,
): StripeIdentity {
  const refs = readReferences(object);
  const said = readNamedPeople(object, rules);
  const ids = listIdKeys(refs, account);
  const idKeys = said.ownId === undefined ? ids : [];
  const keys = listPersonKeys(refs, account);
  if (said.customer !== undefined) {
    const id = said.ownId ?? said.reference ?? said.customer.distinct_id;
    const person = compact({ ...said.customer, distinct_id: id });
    // What an update has cleared does not come back.
    const personKeys = object.object === 'customer' ? [] : keys;
    return { person, personKeys, idKeys: idKeys.slice(0, countIdKeys(said)) };
  }
  const reference = compact({ distinct_id: said.reference });
  if (refs.customer === undefined) {
    const contact = isEmptyPerson(said.contact) ? said.payer : said.contact;
    return { person: { ...contact, ...reference }, personKeys: keys };
  }
  const stripeId = selectStripeId(refs, rules);
  if (!isEmptyPerson(said.contact) || said.reference !== undefined) {
    const fallback = { ...said.contact, ...(said.reference === undefined && stripeId) };
    return {
      person: reference,
      personKeys: keys,
      idKeys: idKeys.slice(0, countIdKeys(said)),
      ...(isEmptyPerson(fallback) ? {} : { fallback }),
    };
  }
  const fallback = isEmptyPerson(said.payer) ? stripeId : said.payer;
  return {
    person: {},
    // A known id of the customer is the person where nothing more is known: the payer may be another.
    personKeys: [...keys, ...ids],
    idKeys,
    ...(isEmptyPerson(fallback) ? {} : { fallback }),
  };
}

/** A session's own reference gives way to an id in the customer's metadata alone, which comes first. */
function countIdKeys({ reference }: NamedPeople): number {
  return reference === undefined ? 2 : 1;
}

type PersonKey = { readonly kind: FactKind; readonly key: string };

/**
 * Names to look a person up under. The customer comes first. A payment has two names: one for what its
 * payer or its customer said, and one, `hint:`, for what is known by the customer's id alone, which must
 * not replace the former.
 */
function listPersonKeys(refs: StripeReferences, account: string | undefined): readonly string[] {
  const { customer, ...payments } = refs;
  const customers = listReferenceKeys({ customer }, account);
  const others = listReferenceKeys(payments, account);
  return [...customers, ...customers.map(hintKey), ...others, ...others.map(hintKey)].map(
    ({ key }) => key,
  );
}

/** Names for the id of a customer alone: the one in its metadata, then the one of a checkout session. */
function listIdKeys(
  { customer }: StripeReferences,
  account: string | undefined,
): readonly string[] {
  if (customer === undefined) return [];
  const [key = ''] = listReferenceKeys({ customer }, account).map((each) => each.key);
  return [`id:${key}`, `reference:${key}`];
}

/** What an object tells later requests of the person behind its ids. */
export function listKnownPeople(
  object: JsonObject,
  account: string | undefined,
  rules: PeopleRules,
): readonly KnownPerson[] {
  const refs = readReferences(object);
  const { customer, ...others } = refs;
  const said = readNamedPeople(object, rules);
  const identity = identifyStripePerson(object, account, rules);
  const customers = listReferenceKeys({ customer }, account);
  const payments = listReferenceKeys(others, account);
  const [ownIdKey, referenceKey] = listIdKeys(refs, account);
  const people: KnownPerson[] = [];
  const add = (keys: readonly PersonKey[], known: Omit<KnownPerson, keyof PersonKey>): void => {
    people.push(...keys.map((key) => ({ ...key, ...known })));
  };
  const addId = (key: string | undefined, id: string | undefined): void => {
    if (key !== undefined && id !== undefined) {
      people.push({ kind: 'customer', key, person: { distinct_id: id } });
    }
  };
  addId(ownIdKey, said.ownId);
  addId(referenceKey, said.reference);
  const isReachable = ({ email, phone_number: phone }: Person): boolean =>
    email !== undefined || phone !== undefined;
  if (said.customer !== undefined && isReachable(said.customer)) {
    const { idKeys } = identity;
    add(customers, { person: identity.person, ...(said.ownId === undefined && { idKeys }) });
  } else if (isReachable(said.contact)) {
    const { idKeys } = identity;
    const id = said.reference === undefined ? selectStripeId(refs, rules) : identity.person;
    add(customers.map(hintKey), { person: { ...said.contact, ...id }, idKeys });
  }
  if (object.object === 'customer') return people;
  const { person, personKeys, fallback, idKeys } = identity;
  if (isReachable({ ...fallback, ...person })) {
    add(payments, customer === undefined ? { person } : { person, personKeys, fallback, idKeys });
  } else if (!isEmptyPerson({ ...fallback, ...person })) {
    add(payments.map(hintKey), { person, personKeys, fallback, idKeys });
  }
  return people;
}

/** The key of what is known of the money of one charge, or, where there is none, of one payment. */
export function chargeLedgerKey({
  object,
  account,
}: {
  readonly object: JsonObject;
  readonly account: string | undefined;
}): string {
  const { charge, payment } = readReferences(object);
  return `${account ?? ''}:${charge ?? payment ?? readStripeId(object.id) ?? ''}`;
}

function listReferenceKeys(
  { payment, charge, invoice, customer }: StripeReferences,
  account: string | undefined,
): readonly PersonKey[] {
  const prefix = account === undefined ? '' : `${account}:`;
  const ids = [
    ['payment', 'payment', payment],
    ['charge', 'charge', charge],
    ['payment', 'invoice', invoice],
    ['customer', 'customer', customer],
  ] as const;
  return ids.flatMap(([kind, name, id]) =>
    id === undefined ? [] : [{ kind, key: `${prefix}${name}:${id}` }],
  );
}

function hintKey({ kind, key }: PersonKey): PersonKey {
  return { kind, key: `hint:${key}` };
}
