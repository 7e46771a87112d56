import type { FactKind } from '../model/fact.js';
import type { Issue } from '../model/outcome.js';
import type { PostedLane } from '../model/lane.js';
import type { JsonObject } from '../json/json.js';

/** Identifiers in the form in which a caller posts them (schema.ts). */
export type Person = {
  readonly email?: string | undefined;
  readonly distinct_id?: string | undefined;
  readonly phone_number?: string | undefined;
  /** Of events only: Klaviyo does not accept it in profile imports. */
  readonly anonymous_id?: string | undefined;
};

/** A part that a map could not read or had to alter. The entry is sent anyway. */
export type SourceWarning = Issue & {
  /** Stable and short, such as `unreadable_amount`: the `reason` of metrics and of GET /v1/sources. */
  readonly code: string;
};

/** The part of a request that an entry or a skip comes from. Absent members are those of the request. */
type Part = {
  /** The source's name for it, such as `orders/create` or `track`. */
  readonly kind?: string | undefined;
  /** The source's id of it, such as that of a message or a delivery. */
  readonly id?: string | undefined;
};

/** The browser or app that a request comes from. Several people may use one device. */
export type Device = {
  /** Becomes the `anonymous_id` of events. */
  readonly id: string;
  /**
   * True: the entry is an event whose only purpose is that Klaviyo joins the earlier events of the
   * device to the person. It is left out if the device had no event without a person, or if another
   * person was seen with the device.
   */
  readonly isJoin?: boolean;
};

/** A phone number that the source repeats with every event of a person. */
export type RepeatedPhone = {
  readonly number: string;
  /** Name or ISO 3166 code of the person's country. */
  readonly country?: string | undefined;
};

/**
 * What an entry of the lane `subscribe` or `unsubscribe` decides: one consent to marketing messages of one
 * channel. The map of a source gives the person and the time (`consented_at`, `unsubscribed_at`). The mapping
 * file adds the channel and the list (sources/mapping/consent.ts), or turns the entry into a skip. Without
 * this step the entry is not valid, so a signal of a source never becomes a consent by itself.
 */
export type Decision = {
  readonly channel: 'email' | 'sms';
  /** The id of a list, if the source names one. */
  readonly listId?: string | undefined;
  /** A group that the source names. The mapping file says which list it is. */
  readonly group?: string | undefined;
  /**
   * Name of a state that the source repeats with every change of something else, such as the consent of a
   * customer. Only a change of the state is accepted. Absent: each entry is a decision of its own.
   */
  readonly state?: string | undefined;
};

/** One event, profile, subscription or unsubscription that a source's request becomes. */
export type SourceEntry = Part & {
  readonly lane: PostedLane;
  /** As a caller of this relay would post it: see schema.ts. */
  readonly entry: JsonObject;
  /** The part of the request it comes from, from 0. */
  readonly index: number;
  /**
   * Names under which facts may hold the person, the most reliable first. They are looked up only if the
   * entry has neither an e-mail address nor a phone number. An entry with such names and without any
   * identifier waits until a fact with one of the names is stored.
   */
  readonly personKeys?: readonly string[] | undefined;
  /** Identifiers that are used only if neither the entry nor a fact names the person. */
  readonly fallback?: Person | undefined;
  /**
   * An e-mail address that may be another person's. It is used only if nothing else gives the person an
   * e-mail address or a phone number, and then it replaces all other identifiers.
   */
  readonly lastResort?: string;
  /**
   * The device of the person. Its id is added to an event if no other person was seen with the device,
   * because Klaviyo merges the profiles that one event names. An event without other identifiers gets
   * those of the only person who was seen with the device.
   */
  readonly device?: Device;
  /** Added to an event if it can be brought into E.164 form; otherwise it is left out with a warning. */
  readonly repeatedPhone?: RepeatedPhone;
  /** Names under which facts may hold the id of the person. That id replaces `distinct_id`. */
  readonly idKeys?: readonly string[] | undefined;
  /** Of subscriptions and unsubscriptions. */
  readonly decision?: Decision | undefined;
  /** Categories of a consent manager that the person refused. The mapping file says which of them Klaviyo belongs to. */
  readonly refusedCategories?: readonly string[] | undefined;
  readonly warnings?: readonly SourceWarning[];
};

/** The person behind a name (an order, a user id), stored as a fact for later requests. */
export type KnownPerson = Pick<
  SourceEntry,
  'personKeys' | 'fallback' | 'idKeys' | 'refusedCategories'
> & {
  readonly kind: FactKind;
  readonly key: string;
  /** Completed by `personKeys`, `fallback` and `idKeys` like an entry before it is stored. */
  readonly person: Person;
  /** Name or ISO 3166 code of the person's country, for the phone number. */
  readonly country?: string | undefined;
};

/**
 * A part of a request that depends on earlier requests: for a capture, Stripe sends only the sum so far.
 * The store keeps one text for each ledger.
 */
export type Ledger = {
  readonly kind: FactKind;
  readonly key: string;
  /**
   * Pure. `kept` is the stored text, null if there is none. The returned text, of at most 4 KB, replaces
   * it. A repeated request must give the same entries again.
   */
  readonly resolve: (kept: string | null) => Pick<SourcePost, 'entries' | 'skipped'> & {
    readonly kept: string | null;
  };
};

/** A part of a request that is authentic and well formed, and is not sent. */
export type Skipped = Part & {
  /** Stable and short, such as `anonymous`; documented in the guide of the source. */
  readonly reason: string;
  /** What an operator must do. The relay logs it as a warning, so it holds no personal data. */
  readonly notice?: string;
};

/** The result of a source's map for one request. */
export type SourcePost = {
  /** The name of the source. */
  readonly source: string;
  /** The source's name for the kind of request, such as `orders/create`. */
  readonly topic?: string;
  /** The source's id of this delivery. A repeated delivery has the same id. */
  readonly delivery?: string;
  /** Epoch ms of the first acceptance, for entries that are ingested again. */
  readonly firstAcceptedAt?: number;
  readonly entries: readonly SourceEntry[];
  readonly people: readonly KnownPerson[];
  readonly skipped: readonly Skipped[];
  /** Adds entries and skips that depend on earlier requests. */
  readonly ledger?: Ledger | undefined;
};
