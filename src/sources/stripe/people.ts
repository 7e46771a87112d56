import type { FactKind } from '../../model/fact.js';
import type { KnownPerson, Person, SourceEntry } from '../../ingest/source-entry.js';
import { limits } from '../../ingest/limits.js';
import { isJsonObject, type JsonObject } from '../../json/json.js';
import { asList, asObject, asText, compact } from '../json.js';

/**
 * Identifies the person of a Stripe object. Fields follow the API reference of stripe-node 23.1.0 and
 * older API versions.
 *
 * The contact of a customer is on the customer, on its invoices and on its checkout sessions. The contact
 * on a charge or a payment intent (`billing_details`, `receipt_email`) belongs to the payer, who may be
 * another person. It identifies the person only if no contact of a customer is known, and it is never
 * joined with the id of the customer.
 */

/** Ids of the objects that an object belongs to. */
export type StripeReferences = {
  readonly payment?: string | undefined;
  readonly charge?: string | undefined;
  readonly invoice?: string | undefined;
  readonly customer?: string | undefined;
};

export type PeopleRules = {
  /** The name in a customer's metadata that holds the shop's own id of the customer. */
  readonly customerIdKey?: string | undefined;
  /** True: `client_reference_id` of a checkout session is the id of a person. Absent: true. */
  readonly takesClientReference?: boolean | undefined;
};

/** The members of an entry that identify its person. `person` goes into the entry itself. */
export type StripeIdentity = Pick<SourceEntry, 'personKeys' | 'fallback' | 'idKeys'> & {
  readonly person: Person;
};

/** Reads an id, or the id of an object that is expanded in its place. */
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

/** Finds the charge of a payment intent. API versions before 2022-11-15 have a list of charges, newest first. */
function findCharge({ latest_charge: latest, charges }: JsonObject): unknown {
  return latest ?? asList(asObject(charges).data)[0];
}

/** Finds the customer: an id or an object. Refunds and disputes have it in their charge alone. */
function findCustomer(object: JsonObject): unknown {
  return object.customer ?? asObject(object.charge).customer;
}

/** The people that an object names, in the order of preference. */
type NamedPeople = {
  /** The customer, if the object is a customer or holds one with a contact. */
  readonly customer?: Person | undefined;
  /** The shop's own id from the metadata of the customer. */
  readonly ownId?: string | undefined;
  /** The shop's id of the person from a checkout session. */
  readonly reference?: string | undefined;
  /** The contact of the customer on an invoice or a checkout session. */
  readonly contact: Person;
  /** The contact of the payer. */
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

/** Several people may share a billing phone number, so it identifies the payer only if there is no e-mail address. */
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

/** Stripe's id of the customer. Empty if the shop has its own ids, because two ids would name two profiles. */
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
    // Without keys, a contact that an update cleared is not looked up again.
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
    // If nothing more is known, a kept id of the customer is preferred to the payer, who may be another person.
    personKeys: [...keys, ...ids],
    idKeys,
    ...(isEmptyPerson(fallback) ? {} : { fallback }),
  };
}

/** Only the id from the customer's metadata, the first key, replaces the reference of a session. */
function countIdKeys({ reference }: NamedPeople): number {
  return reference === undefined ? 2 : 1;
}

type PersonKey = { readonly kind: FactKind; readonly key: string };

/**
 * Keys under which a person is looked up, the customer first. A payment has two keys: one for people that
 * its payer or customer identified, and `hint:` for people known by the id of the customer alone, which must
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

/** Keys for the id of a customer alone: from its metadata, then from a checkout session. */
function listIdKeys(
  { customer }: StripeReferences,
  account: string | undefined,
): readonly string[] {
  if (customer === undefined) return [];
  const [key = ''] = listReferenceKeys({ customer }, account).map((each) => each.key);
  return [`id:${key}`, `reference:${key}`];
}

/** Lists the people of an object that are kept for later requests. */
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

/** The key of the ledger of a charge, or of a payment without a charge. */
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
