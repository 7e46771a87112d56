import type { Ledger, Skipped, SourceEntry, SourceWarning } from '../../ingest/source-entry.js';
import { harmfulNames, type JsonObject } from '../../json/json.js';
import { asObject, asText, asBigInt, compact } from '../json.js';
import type { StripeValue } from './money.js';
import { readStripeId, identifyStripePerson, readReferences, type PeopleRules } from './people.js';

/** STRIPE_REVENUE_SOURCE. */
export type RevenueSource = 'charge' | 'payment_intent' | 'checkout' | 'invoice';

/** Why an event is not sent: a code such as `no_amount`. */
export type SkipReason = string;

/** What the settings STRIPE_* say of the map. */
export type StripeRules = PeopleRules & {
  readonly revenueSource: RevenueSource;
  readonly takesTestEvents: boolean;
};

/** A Stripe event (API reference, "The Event object"), read as far as every topic needs it. */
export type StripeEvent = {
  readonly id: string | undefined;
  readonly topic: string;
  /** `data.object`: what it is about, in the form of its kind. */
  readonly object: JsonObject;
  /** `data.previous_attributes`: fields of the object that the event changed, as they were before. */
  readonly previous: JsonObject;
  /** ISO 8601. */
  readonly createdAt: string | undefined;
  /** The connected account it happened in, if it is not the endpoint's own. */
  readonly account: string | undefined;
};

export type StripeEntry = Omit<SourceEntry, 'index'>;

/** What a topic's map makes: an entry, the reason why there is none, or a ledger that decides. */
export type TopicResult =
  | { readonly kind: 'entry'; readonly entry: StripeEntry }
  | { readonly kind: 'skip'; readonly reason: SkipReason }
  | { readonly kind: 'ledger'; readonly ledger: Ledger };
export type TopicMap = (event: StripeEvent, rules: StripeRules) => TopicResult;

export const skipEvent = (reason: SkipReason): TopicResult => ({ kind: 'skip', reason });

/** What a ledger's `resolve` makes of entries and, where there are none, of reasons. */
export function toResolved(
  entries: readonly StripeEntry[],
  reasons: readonly SkipReason[],
): { readonly entries: readonly SourceEntry[]; readonly skipped: readonly Skipped[] } {
  return {
    entries: entries.map((entry) => ({ ...entry, index: 0 })),
    skipped: entries.length > 0 ? [] : reasons.map((reason) => ({ reason })),
  };
}

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

/** Klaviyo takes no times before 2000, and JavaScript has none after 275760. */
const earliestSeconds = 946_684_800;
const latestSeconds = 8_640_000_000_000;

/** Unix seconds as ISO 8601. */
export function readUnixTime(value: unknown): string | undefined {
  const seconds = Number(asBigInt(value) ?? NaN);
  if (!(seconds >= earliestSeconds && seconds <= latestSeconds)) return undefined;
  return new Date(seconds * 1000).toISOString();
}

/** What tells one topic's event from another's; identity, ids and metadata are the same for all. */
export type StripeEntryParts = {
  readonly name: string;
  /** The same for all topics that tell of one thing, so that Klaviyo counts it once. */
  readonly insertId: string | undefined;
  /** When the object itself says so. */
  readonly at?: string | undefined;
  /** What the event is worth. Absent: nothing. */
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

/** Pairs of text that the shop itself attached; undefined where there are none. */
export function readMetadata(value: unknown): JsonObject | undefined {
  const pairs = Object.entries(asObject(value)).flatMap(([name, each]) => {
    const text = asText(each);
    return text === undefined || harmfulNames.has(name) ? [] : [[asText(name) ?? name, text]];
  });
  return pairs.length === 0 ? undefined : (Object.fromEntries(pairs) as JsonObject);
}
