/** One thing that is wrong, in JSON Pointer (RFC 6901) and words. */
export type Issue = { readonly pointer: string; readonly detail: string };

/** Why an envelope failed: `code` is stable and short, `detail` is for a person (Klaviyo's own words where there are any). */
export type Reason = {
  readonly code: string;
  readonly detail: string;
  readonly status?: number;
  readonly faults?: readonly Issue[];
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
  | { readonly kind: 'unattributed'; readonly method: SplitMethod; readonly reason: Reason }
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
  | { readonly kind: 'dead-letter'; readonly reason: Reason }
  | { readonly kind: 'poll'; readonly ref: string };
