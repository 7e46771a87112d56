/** One thing that is wrong: a JSON Pointer (RFC 6901) and a text. */
export type Issue = { readonly pointer: string; readonly detail: string };

/** Why an envelope failed. `code` is stable and short; `detail` is text for a person, in Klaviyo's own words if it gave any. */
export type Reason = {
  readonly code: string;
  readonly detail: string;
  /** HTTP status of Klaviyo's response. */
  readonly status?: number;
  readonly faults?: readonly Issue[];
};

/**
 * What one attempt did to one envelope.
 * - `delivered`: Klaviyo recorded it.
 * - `pending`: Klaviyo accepted it; the import job `ref` will have the result.
 * - `retryable`: Klaviyo did not record it, or the result is unknown. Sending it again is safe.
 * - `throttled`: Klaviyo refused the request because of its rate (429).
 * - `rejected`: Klaviyo will never accept it.
 * - `unattributed`: the request failed because of another record in it (`pointer`), of an unknown one
 *   (`bisect`), or because of its size (`size`). The envelope is sent again in a smaller batch.
 * - `blocked`: the key, its scopes or the revision are wrong, and the data is not. `advice` is text for
 *   an operator.
 *
 * `mayBeContent`: one record of the request may have caused the failure, but Klaviyo did not name it.
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
  | { readonly kind: 'unattributed'; readonly method: SplitMethod; readonly reason: Reason }
  | {
      readonly kind: 'blocked';
      readonly reason: Reason;
      readonly advice?: string;
      readonly mayBeContent?: boolean;
    };

/** How a failed batch is split: the named record is left out, it is halved, or it is halved because it was too large. */
export type SplitMethod = 'pointer' | 'bisect' | 'size';

/**
 * What the relay does with one envelope after an attempt: acknowledge it, send it again, keep it as a
 * dead letter, or poll the import job `ref`.
 */
export type Verdict =
  | { readonly kind: 'ack'; readonly as: 'delivered' | 'merged' }
  | {
      readonly kind: 'retry';
      readonly afterMs: number;
      readonly reason: Reason;
      readonly countAttempt: boolean;
      /** True if it failed as part of a merged profile, or in a request of its own while others succeeded. */
      readonly alone?: boolean;
    }
  | { readonly kind: 'dead-letter'; readonly reason: Reason }
  | { readonly kind: 'poll'; readonly ref: string };
