import type { Ledger, SourceEntry, SourceWarning } from '../../ingest/source-entry.js';
import { harmfulNames, type JsonObject } from '../../json/json.js';
import { asObject, asText, asBigInt, compact } from '../json.js';
import type { StripeValue } from './money.js';
import { readStripeId, identifyStripePerson, readReferences, type PeopleRules } from './people.js';

/** STRIPE_REVENUE_SOURCE. */
export type RevenueSource = 'charge' | 'payment_intent' | 'checkout' | 'invoice';

/** The reason why an event is not sent: a code such as `no_amount`. */
export type SkipReason = string;

/** The settings STRIPE_* that the map reads. */
export type StripeRules = PeopleRules & {
  readonly revenueSource: RevenueSource;
  readonly takesTestEvents: boolean;
};

/** The parts of a Stripe event (API reference, "The Event object") that all topics need. */
export type StripeEvent = {
  readonly id: string | undefined;
  readonly topic: string;
  /** `data.object`: the charge, refund, customer, … that the event is about. */
  readonly object: JsonObject;
  /** `data.previous_attributes`: fields of the object that the event changed, as they were before. */
  readonly previous: JsonObject;
  /** ISO 8601. */
  readonly createdAt: string | undefined;
  /** The connected account in which the event happened. Absent: the account of the endpoint. */
  readonly account: string | undefined;
};

export type StripeEntry = Omit<SourceEntry, 'index'>;

/** The result of a topic: an entry, a skip, or a ledger that decides when earlier webhooks are known. */
export type TopicResult =
  | { readonly kind: 'entry'; readonly entry: StripeEntry }
  | { readonly kind: 'skip'; readonly reason: SkipReason }
  | { readonly kind: 'ledger'; readonly ledger: Ledger };
export type TopicMap = (event: StripeEvent, rules: StripeRules) => TopicResult;

export const skipEvent = (reason: SkipReason): TopicResult => ({ kind: 'skip', reason });

export function readStripeEvent(body: JsonObject): StripeEvent {
  const data = asObject(body.data);
  return {
    id: readStripeId(body.id),
    topic: asText(body.type) ?? '',
    object: asObject(data.object),
    previous: asObject(data.previous_attributes),
    createdAt: readUnixTime(body.created),
    account: readStripeId(body.account),
  };
}

/** Klaviyo accepts no times before 2000, and JavaScript has none after the year 275760. */
const earliestSeconds = 946_684_800;
const latestSeconds = 8_640_000_000_000;

/** Unix seconds as ISO 8601. */
export function readUnixTime(value: unknown): string | undefined {
  const seconds = Number(asBigInt(value) ?? NaN);
  if (!(seconds >= earliestSeconds && seconds <= latestSeconds)) return undefined;
  return new Date(seconds * 1000).toISOString();
}

/** The parts of an event that differ by topic. Person, ids and metadata are read the same way for all. */
export type StripeEntryParts = {
  readonly name: string;
  /** The same for all topics that report one thing, so that Klaviyo counts it once. */
  readonly insertId: string | undefined;
  /** The time of the object. Absent: the time of the Stripe event. */
  readonly at?: string | undefined;
  /** The value of the event. Absent: the event has none. */
  readonly counted?: StripeValue;
  readonly properties: JsonObject;
};

/** An entry of the events lane. */
export function createStripeEntry(
  { id, object, createdAt, account }: StripeEvent,
  facts: StripeEntryParts,
  rules: PeopleRules,
): StripeEntry {
  const refs = readReferences(object);
  const { person, ...identity } = identifyStripePerson(object, account, rules);
  const { fields, properties, warnings } = splitStripeValue(facts.counted);
  const entry = compact({
    event_name: facts.name,
    ...person,
    event_time: facts.at ?? createdAt,
    insert_id: facts.insertId ?? id,
    ...fields,
    properties: compact({
      Description: asText(object.description),
      PaymentIntent: refs.payment,
      Charge: refs.charge,
      Invoice: refs.invoice,
      Customer: refs.customer,
      Metadata: readMetadata(object.metadata),
      ...facts.properties,
      ...properties,
    }),
  });
  return { lane: 'events', entry, ...identity, ...(warnings.length > 0 && { warnings }) };
}

function splitStripeValue(counted: StripeValue = { kind: 'none' }): {
  readonly fields?: JsonObject;
  readonly properties?: JsonObject;
  readonly warnings: readonly SourceWarning[];
} {
  if (counted.kind === 'none') return { warnings: [] };
  if (counted.kind === 'unreadable') {
    return { properties: compact(counted.properties), warnings: counted.warnings };
  }
  const { amount, currency } = counted.money;
  return { fields: { value: amount, currency }, warnings: [] };
}

/** The metadata that the shop attached: pairs of text. Undefined if there is none. */
export function readMetadata(value: unknown): JsonObject | undefined {
  const pairs = Object.entries(asObject(value)).flatMap(([name, each]) => {
    const text = asText(each);
    return text === undefined || harmfulNames.has(name) ? [] : [[asText(name) ?? name, text]];
  });
  return pairs.length === 0 ? undefined : (Object.fromEntries(pairs) as JsonObject);
}
