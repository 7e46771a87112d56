import type { FactKind, Lane } from '../envelope.js';
import type { JsonObject } from '../json.js';

/** Upstream systems whose own formats the relay reads. */
export const sources = ['segment', 'shopify', 'stripe'] as const;
export type Source = (typeof sources)[number];

/** SHOPIFY_ORDER_VALUE and STRIPE_REVENUE_SOURCE. */
export type OrderValue = 'total' | 'subtotal_and_shipping';
export type RevenueSource = 'charge' | 'payment_intent' | 'checkout' | 'invoice';

/** Identifiers in the form a caller posts them (schema.ts). */
export type Person = {
  readonly email?: string | undefined;
  readonly distinct_id?: string | undefined;
  readonly phone_number?: string | undefined;
};

/** One event or profile that a source's request comes to. */
export type SourcedEntry = {
  readonly lane: Lane;
  /** As a caller of this relay would post it: see schema.ts. */
  readonly entry: JsonObject;
  /** The part of the request it comes from, from 0. */
  readonly index: number;
  /**
   * Names under which an earlier request may have told whom this is about, the surest first. Asked
   * only where the entry has neither an e-mail address nor a phone number of its own.
   */
  readonly personKeys?: readonly string[];
};

/** Whom a name (an order, a user id) is about, kept for later requests. */
export type KnownPerson = {
  readonly kind: FactKind;
  readonly key: string;
  readonly person: Person;
};

/** Why a part of a request that is authentic and well formed goes no further. */
export type SkipReason =
  | 'alias'
  | 'anonymous'
  | 'group'
  | 'integration_off'
  | 'metric_off'
  | 'no_amount'
  | 'other_revenue_source'
  | 'page_off'
  | 'repeat'
  | 'test'
  | 'too_long'
  | 'topic_off'
  | 'unmapped';

/** What a source's map makes of one request. */
export type SourcedPost = {
  readonly source: Source;
  /** What kind of request it was, by the source's own name, such as `orders/create`. */
  readonly topic?: string;
  /** The source's own id of this delivery, the same whenever it is repeated. */
  readonly delivery?: string;
  /** Epoch ms when it was accepted for the first time, of one that is accepted again. */
  readonly firstAcceptedAt?: number;
  readonly entries: readonly SourcedEntry[];
  readonly people: readonly KnownPerson[];
  /** One per part that goes no further. */
  readonly skipped: readonly SkipReason[];
};
