import type { StoreLane } from './lane.js';
import type { Reason } from './outcome.js';

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
  readonly deadLetterReason?: Reason;
};

/** The stored unit. */
export type Envelope = Omit<Draft, 'deadLetterReason'> & {
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
export type BatchItem = readonly [Envelope, ...Envelope[]];

export type ClaimBounds = {
  /** Items. */
  readonly maxCount: number;
  /** Sum of payload bytes plus one separator each. */
  readonly maxBytes: number;
  /**
   * From this many attempts on, an envelope travels in half the company with each further attempt,
   * so that one that makes Klaviyo fail without a word ends up alone.
   */
  readonly suspectAfterAttempts: number;
};

export type ClaimableState = {
  readonly count: number;
  readonly bytes: number;
  /** Ms since the oldest claimable envelope became claimable; null when there is none. */
  readonly oldestAgeMs: number | null;
  /** Ms until the next delayed retry is due; null when there is none. */
  readonly nextDueMs: number | null;
};
