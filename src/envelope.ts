/**
 * The types both halves of the relay hang on. This file imports nothing.
 *
 * accept half: … → Draft → store.append → Envelope | delivery half: claim → Outcome → Verdict → settle
 */

export const lanes = ['events', 'profiles'] as const;
export type Lane = (typeof lanes)[number];

/**
 * Queues of a store: one for each lane, and `waiting` for entries of a source that name a person the
 * relay does not know yet. What waits is never sent: the relay ingests it again once it knows the
 * person (ingest/waiting.ts).
 */
export const storeLanes = [...lanes, 'waiting'] as const;
export type StoreLane = (typeof storeLanes)[number];

/** Returns true for a lane that is delivered to Klaviyo. */
export const isLane = (lane: StoreLane): lane is Lane => lane !== 'waiting';

/** What the accept half hands to the store; the store gives it an id. */
export type Draft = {
  readonly lane: StoreLane;
  /**
   * Hashes that name what this envelope is about. Two envelopes that share one must not travel in
   * the same request. Events: one per identifier, over (identifier, metric, unique_id).
   * Profiles: one per identifier (e-mail, phone, external id). Events may have an anonymous id, too.
   * What waits has none.
   */
  readonly keys: readonly string[];
  /** Epoch ms. */
  readonly acceptedAt: number;
  /** UTF-8 JSON of one element of Klaviyo's bulk `data` array, or of what is to be ingested again. Serialised once, never re-parsed on the way out. */
  readonly payload: Uint8Array;
  /** Why it cannot be sent as it stands. It goes to the dead letters at once, and is never claimed before a redrive. */
  readonly bury?: Reason;
};

/** The stored unit. */
export type Envelope = Omit<Draft, 'bury'> & {
  readonly id: string;
  /** Attempts that ended so far. */
  readonly attempts: number;
  /**
   * It failed in company: it is not merged with others any more. After a failed attempt it does not
   * share a request either.
   */
  readonly alone?: boolean;
};

/**
 * The envelopes that leave as one element of a request, oldest first: a single one, or several
 * profiles of one identity that are merged before they leave.
 */
export type Parcel = readonly [Envelope, ...Envelope[]];

/** One thing that is wrong, in JSON Pointer (RFC 6901) and words. */
export type Fault = { readonly pointer: string; readonly detail: string };

/** Why an envelope failed: `code` is stable and short, `detail` is for a person (Klaviyo's own words where there are any). */
export type Reason = {
  readonly code: string;
  readonly detail: string;
  readonly status?: number;
  readonly faults?: readonly Fault[];
};

/**
 * What one attempt did to one envelope; one per envelope, in order.
 * - `delivered`: Klaviyo has it.
 * - `pending`: Klaviyo took it; the result is known once the import job `ref` ends.
 * - `retryable`: not taken, or not known to be taken; sending it again is safe.
 * - `throttled`: refused for its rate alone (429).
 * - `rejected`: Klaviyo will never take it.
 * - `unblamed`: the request failed for another record in it (`pointer`), for an unknown one
 *   (`bisect`), or for its size (`size`): send it again in smaller company.
 * - `blocked`: key, scopes or revision are wrong; nothing is wrong with the data. `advice` says what to do.
 *
 * `mayBeContent`: one record of the request may have caused the failure, without being named.
 */
export type Outcome =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'pending'; readonly ref: string }
  | {
      readonly kind: 'retryable';
      readonly reason: Reason;
      readonly afterMs?: number;
      readonly mayBeContent?: boolean;
    }
  | { readonly kind: 'throttled'; readonly reason: Reason; readonly afterMs: number }
  | { readonly kind: 'rejected'; readonly reason: Reason }
  | { readonly kind: 'unblamed'; readonly method: SplitMethod; readonly reason: Reason }
  | {
      readonly kind: 'blocked';
      readonly reason: Reason;
      readonly advice?: string;
      readonly mayBeContent?: boolean;
    };

export type SplitMethod = 'pointer' | 'bisect' | 'size';

/** What we do with one envelope after an attempt. */
export type Verdict =
  | { readonly kind: 'ack'; readonly as: 'delivered' | 'merged' }
  | {
      readonly kind: 'retry';
      readonly afterMs: number;
      readonly reason: Reason;
      readonly countAttempt: boolean;
      /** True where it failed as part of a merged profile, or by itself while others passed. */
      readonly alone?: boolean;
    }
  | { readonly kind: 'bury'; readonly reason: Reason }
  | { readonly kind: 'follow'; readonly ref: string };

/** Why a batch left. */
export type Trigger = 'size' | 'bytes' | 'time' | 'drain';

/** One request to Klaviyo, as the delivery log keeps it. */
export type Delivery = {
  readonly id: string;
  readonly lane: Lane;
  readonly trigger: Trigger;
  /** Epoch ms when the request left. */
  readonly at: number;
  readonly durationMs: number;
  /** Envelopes in the request, merged ones included. */
  readonly count: number;
  readonly bytes: number;
  /** HTTP status; null when no answer came. */
  readonly status: number | null;
  /** The highest attempt number (1-indexed) among its envelopes. */
  readonly attempt: number;
  readonly result: 'delivered' | 'pending' | 'partial' | 'retried' | 'rejected' | 'blocked';
  readonly delivered: number;
  readonly merged: number;
  readonly retried: number;
  readonly deadLettered: number;
  /** Events in the request that trigger no flow at Klaviyo. Absent: none. */
  readonly backfilled?: number;
  readonly reason: Reason | null;
  readonly importJob: ImportJob | null;
  /** The pause that the lane makes after this request, because Klaviyo asked for it. */
  readonly pause?: AskedPause;
  /** How far the relay has followed the import job; kept for the process that follows it next. */
  readonly following?: Following;
};

/** Klaviyo asked for no request for a while (`Retry-After`). A restart does not shorten the pause. */
export type AskedPause = {
  /** Epoch ms when Klaviyo asked. */
  readonly at: number;
  readonly forMs: number;
  /** The same moment by the machine's time since its boot, where it names one. */
  readonly uptime?: { readonly boot: string; readonly ms: number };
};

/** What the relay measured of an open import job. */
export type Following = {
  /** Time for which relays have seen the job open, by their monotonic clocks: a lower bound of its age. */
  readonly openMs: number;
  /** True once Klaviyo described the job as running. */
  readonly wasRead: boolean;
  /** The latest pause that Klaviyo asked for in answer to a look at this job; it holds for all looks. */
  readonly pause?: AskedPause;
};

/**
 * What is known of a Klaviyo bulk import job. `unreadable`: taken, but its result cannot be read.
 * `expired`: Klaviyo keeps it no longer, and it never ended.
 */
export type ImportJob = {
  readonly id: string;
  readonly status: 'queued' | 'processing' | 'complete' | 'cancelled' | 'unreadable' | 'expired';
  readonly completed: number | null;
  readonly failed: number | null;
};

/** An envelope the relay gave up on, kept until a person decides. */
export type DeadLetter = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly acceptedAt: number;
  readonly buriedAt: number;
  readonly attempts: number;
  readonly reason: Reason;
  readonly deliveryId: string | null;
  readonly payload: Uint8Array;
};

/**
 * What a fact is about: a delivery of a webhook that was accepted, the buyer of an order, the person
 * behind a payment, a charge, a customer, a user of an SDK or an anonymous id of a device, and anything
 * else. Each kind has bounds of its own, so that many facts of one kind remove none of another.
 */
// prettier-ignore
export const factKinds = [
  'delivery', 'order', 'payment', 'charge', 'customer', 'user', 'device', 'other',
] as const;
export type FactKind = (typeof factKinds)[number];

/** A small thing remembered for later requests, such as the buyer of an order. */
export type Fact = {
  readonly kind: FactKind;
  /** 1 to 512 bytes of UTF-8, unique across kinds. The caller ensures both. */
  readonly key: string;
  /** At most 4 KB of UTF-8, which the caller ensures. */
  readonly value: string;
};

export type ReceiptState = 'buffered' | 'in_flight' | 'delivered' | 'dead_lettered';

/** Where an accepted envelope is now. */
export type Receipt = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly state: ReceiptState;
  /** The delivery that settled it, or the latest that tried. */
  readonly deliveryId: string | null;
  readonly reason: Reason | null;
  /** True where it left as part of a newer profile of the same identity. */
  readonly merged: boolean;
};

export type DeadLetterFilter = {
  readonly lane?: StoreLane | undefined;
  /** Reason code. */
  readonly reason?: string | undefined;
  readonly ids?: readonly string[] | undefined;
  /** Whether it went there at the door, without an attempt. */
  readonly unsent?: boolean | undefined;
  /** Epoch ms, inclusive, on buriedAt. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
};

export type DeliveryFilter = {
  readonly lane?: Lane | undefined;
  readonly result?: Delivery['result'] | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
};

/** A page of a list, newest first; `next` is an opaque cursor. */
export type Page<T> = { readonly data: readonly T[]; readonly next: string | null };
export type PageQuery = { readonly limit: number; readonly cursor?: string | undefined };

/** What Klaviyo's answer said about its rate limits. */
export type RateFeedback = {
  /** Limits Klaviyo announced, e.g. `10, 10;w=1, 150;w=60` → 10 per 1 s and 150 per 60 s. */
  readonly windows: readonly RateWindow[];
  /** What is left of the window that is nearest to its limit (the first number of the list), and that number. */
  readonly remaining: number | null;
  readonly remainingOf: number | null;
  /** Ms until that window starts anew. */
  readonly resetMs: number | null;
  /** From Retry-After on a 429. */
  readonly retryAfterMs: number | null;
};

/** At most `limit` requests in any `windowMs`. */
export type RateWindow = { readonly limit: number; readonly windowMs: number };

/** What one request did: a value, whatever happened on the way. */
export type Sent = {
  /** One per payload, in order. */
  readonly outcomes: readonly Outcome[];
  /** Null when no answer came. */
  readonly status: number | null;
  /** Request body, bytes. */
  readonly bytes: number;
  /** Payloads that are backfilled events. */
  readonly backfilled: number;
  readonly durationMs: number;
  readonly feedback: RateFeedback | null;
};

/** What an import job was given. Few looks need the payloads, and to merge them again takes time. */
export type Imported = { readonly count: number; readonly payloads: () => readonly Uint8Array[] };

/** One look at an import job. `outcomes` is there once the job ended, one per payload, in order. */
export type Followed = {
  readonly job: ImportJob;
  readonly outcomes: readonly Outcome[] | null;
  /** True where the look itself failed and is worth repeating. */
  readonly retryable: boolean;
  readonly feedback: RateFeedback | null;
  /** The id in Klaviyo's answer, if it described a job. */
  readonly answeredId?: string;
};

/** What Klaviyo's list of open import jobs says of some of them. */
export type ListedImports = {
  /** Those that the list shows as queued or processing. */
  readonly open: readonly ImportJob[];
  /**
   * - `complete`: each of the others has ended, is gone, or is so new that the list lacks it.
   * - `partial`: the list was not read to its end.
   * - `failed`: an answer was no such list.
   */
  readonly end: 'complete' | 'partial' | 'failed';
  readonly requests: number;
  /** Of the last answer. */
  readonly feedback: RateFeedback | null;
};

export type ClaimBounds = {
  /** Parcels. */
  readonly maxCount: number;
  /** Sum of payload bytes plus one separator each. */
  readonly maxBytes: number;
  /**
   * From this many attempts on, an envelope travels in half the company with each further attempt,
   * so that one that makes Klaviyo fail without a word ends up alone.
   */
  readonly suspectAfterAttempts: number;
};

export type Waiting = {
  readonly count: number;
  readonly bytes: number;
  /** Ms since the oldest claimable envelope became claimable; null when there is none. */
  readonly oldestAgeMs: number | null;
  /** Ms until the next delayed retry is due; null when there is none. */
  readonly nextDueMs: number | null;
};

export type Settled = { readonly envelope: Envelope; readonly verdict: Verdict };

export type Settlement = {
  readonly lane: StoreLane;
  readonly settled: readonly Settled[];
  /** The delivery to write down; absent where envelopes go back without a request. A known id is replaced. */
  readonly delivery?: Delivery;
};

export type UnfinishedImport = {
  readonly lane: Lane;
  readonly ref: string;
  readonly delivery: Delivery;
  readonly parcels: readonly Parcel[];
};
