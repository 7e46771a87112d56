import type { FactKind } from '../model/fact.js';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import type { JsonObject } from '../json/json.js';

/** Identifiers in the form a caller posts them (schema.ts). */
export type Person = {
  readonly email?: string | undefined;
  readonly distinct_id?: string | undefined;
  readonly phone_number?: string | undefined;
  /** Of events alone: Klaviyo does not accept it in profile imports. */
  readonly anonymous_id?: string | undefined;
};

/** What a map could not read or had to alter. The entry is sent all the same. */
export type SourceWarning = Issue & {
  /** Stable and short, such as `unreadable_amount`: the `reason` of metrics and of GET /v1/sources. */
  readonly code: string;
};

/** The part of a request that an entry or a skip comes from. Absent members are those of the request. */
type Part = {
  /** By the source's own name, such as `orders/create` or `track`. */
  readonly kind?: string | undefined;
  /** The source's own id of it: a message, a delivery. */
  readonly id?: string | undefined;
};

/** The browser or app that a request comes from. Several people may use one device. */
export type Device = {
  /** Becomes the `anonymous_id` of events. */
  readonly id: string;
  /**
   * True: the entry is an event whose only purpose is that Klaviyo joins the earlier events of the
   * device to the person. It is left out where the device had no event without a person, and where
   * another person was seen with the device.
   */
  readonly isJoin?: boolean;
};

/** A phone number that the source repeats with every event of a person. */
export type RepeatedPhone = {
  readonly number: string;
  /** Name or ISO 3166 code of the person's country. */
  readonly country?: string | undefined;
};

/** One event or profile that a source's request becomes. */
export type SourceEntry = Part & {
  readonly lane: Lane;
  /** As a caller of this relay would post it: see schema.ts. */
  readonly entry: JsonObject;
  /** The part of the request it comes from, from 0. */
  readonly index: number;
  /**
   * Names under which an earlier request may have said whom this is about, the surest first. Looked
   * up only where the entry has neither an e-mail address nor a phone number of its own. An entry with
   * such names and without any identifier waits until one of them is known.
   */
  readonly personKeys?: readonly string[] | undefined;
  /** Identifiers that count only where neither the entry nor an earlier request names the person. */
  readonly fallback?: Person | undefined;
  /**
   * An e-mail address that may be another person's. It counts only where nothing else gives the person
   * an e-mail address or a phone number, and then alone: it replaces all other identifiers.
   */
  readonly lastResort?: string;
  /**
   * The device of the person. Its id is added to an event where no other person was seen with the
   * device: Klaviyo merges the profiles that one event names. An event that names nobody else gets the
   * identifiers of the one person who was seen with the device.
   */
  readonly device?: Device;
  /** Added to an event where it can be brought into E.164 form, else left out with a warning. */
  readonly repeatedPhone?: RepeatedPhone;
  /** Names under which an earlier request may have said which id the person has. That id replaces `distinct_id`. */
  readonly idKeys?: readonly string[] | undefined;
  readonly warnings?: readonly SourceWarning[];
};

/** Whom a name (an order, a user id) is about, kept for later requests. */
export type KnownPerson = Pick<SourceEntry, 'personKeys' | 'fallback' | 'idKeys'> & {
  readonly kind: FactKind;
  readonly key: string;
  /** Completed by `personKeys`, `fallback` and `idKeys`, as an entry is, before it is kept. */
  readonly person: Person;
  /** Name or ISO 3166 code of the person's country, for the phone number. */
  readonly country?: string | undefined;
};

/**
 * A part of a request that depends on earlier ones, such as a capture of which the request has only the
 * sum so far. A store keeps one text for each ledger.
 */
export type Ledger = {
  readonly kind: FactKind;
  readonly key: string;
  /**
   * Pure. `kept` is what the latest request left, null if there is none; the text that it returns, of at
   * most 4 KB, takes its place. A request that is repeated gives the same entries again.
   */
  readonly resolve: (kept: string | null) => Pick<SourcePost, 'entries' | 'skipped'> & {
    readonly kept: string | null;
  };
};

/** A part of a request that is authentic and well formed, and is not sent. */
export type Skipped = Part & {
  /** Stable and short, such as `anonymous`; documented in the guide of the source. */
  readonly reason: string;
};

/** What a source's map makes of one request. */
export type SourcePost = {
  /** The name of the source. */
  readonly source: string;
  /** What kind of request it was, by the source's own name, such as `orders/create`. */
  readonly topic?: string;
  /** The source's own id of this delivery, the same whenever it is repeated. */
  readonly delivery?: string;
  /** Epoch ms when it was accepted for the first time, of one that is accepted again. */
  readonly firstAcceptedAt?: number;
  readonly entries: readonly SourceEntry[];
  readonly people: readonly KnownPerson[];
  readonly skipped: readonly Skipped[];
  /** Adds entries and skips once it is known what earlier requests left. */
  readonly ledger?: Ledger | undefined;
};
