import type { StoreLane } from './lane.js';
import type { Reason } from './outcome.js';

/** An accepted entry before it is stored: an envelope without an id. */
export type Draft = {
  readonly lane: StoreLane;
  /**
   * Identity keys: hashes of what the envelope is about. Envelopes that share a key must not be in the
   * same request, unless they are profiles that are merged into one.
   * - An event has one key for each identifier, over (identifier, metric, unique_id).
   * - A profile has one key for each identifier: e-mail address, phone number, external id.
   * - An event may also have a key for an anonymous id.
   * - An entry in the lane `waiting` has none.
   */
  readonly keys: readonly string[];
  /** Epoch ms. */
  readonly acceptedAt: number;
  /**
   * UTF-8 JSON: one element of `data` in a bulk request to Klaviyo, or in the lane `waiting` the entry
   * that is ingested again. It is serialised once, when it is accepted.
   */
  readonly payload: Uint8Array;
  /** Why the entry cannot be sent. The store then keeps it as a dead letter from the start. */
  readonly deadLetterReason?: Reason;
};

/** The stored unit: one accepted entry. */
export type Envelope = Omit<Draft, 'deadLetterReason'> & {
  readonly id: string;
  /** Attempts that have ended. */
  readonly attempts: number;
  /**
   * True once the envelope failed together with others. It is no longer merged with other profiles, and
   * after a further failed attempt it is sent in a request of its own.
   */
  readonly alone?: boolean;
};

/**
 * The envelopes that become one element of a request: a single envelope, or several profiles of the
 * same person, oldest first, that are merged before they are sent.
 */
export type BatchItem = readonly [Envelope, ...Envelope[]];

/** How much one claim may take. */
export type ClaimBounds = {
  /** Number of batch items. */
  readonly maxCount: number;
  /** Sum of payload bytes plus one separator for each. */
  readonly maxBytes: number;
  /**
   * From this number of attempts on, each further attempt halves the number of items that may share a
   * request with the envelope. An envelope that makes Klaviyo fail without an explanation is thereby
   * isolated.
   */
  readonly isolateAfterAttempts: number;
};

/** What a lane has to claim now. */
export type ClaimableState = {
  readonly count: number;
  readonly bytes: number;
  /** Ms since the oldest claimable envelope became claimable; null if there is none. */
  readonly oldestAgeMs: number | null;
  /** Ms until the next delayed retry is due; null if there is none. */
  readonly nextDueMs: number | null;
};
