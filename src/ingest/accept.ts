import type { Fault, Lane } from '../envelope.js';

/** What became of one event or profile at the door. */
export type AcceptedOne =
  | {
      readonly kind: 'taken';
      readonly id: string;
      readonly duplicate: boolean;
      readonly warnings: readonly Fault[];
    }
  | { readonly kind: 'invalid'; readonly errors: readonly Fault[] }
  | RefusedAll;

/** What became of many. `rejected` and `warnings` carry the index within the request, from 0. */
export type AcceptedMany =
  | {
      readonly kind: 'taken';
      readonly accepted: number;
      readonly duplicates: number;
      /** One per taken entry, in request order. */
      readonly ids: readonly string[];
      readonly rejected: readonly { readonly index: number; readonly errors: readonly Fault[] }[];
      readonly warnings: readonly { readonly index: number; readonly warnings: readonly Fault[] }[];
    }
  /** Nothing was taken: none was valid, `strict` found one that was not, or the body is not JSON. Pointers start with `/{index}` where an entry is at fault. */
  | {
      readonly kind: 'invalid';
      readonly errors: readonly Fault[];
      readonly rejected: readonly { readonly index: number; readonly errors: readonly Fault[] }[];
    }
  | RefusedAll;

/** The store took none of it. */
export type RefusedAll = {
  readonly kind: 'refused';
  readonly reason: 'full' | 'closed' | 'unavailable';
  readonly retryAfterMs: number;
};

export type OneOptions = { readonly idempotencyKey?: string | undefined };
export type ManyOptions = { readonly format: 'json' | 'ndjson'; readonly strict: boolean };

/** The accept half: validate, map, append. Bodies are the raw request text, decompressed. */
export type Accept = {
  one(lane: Lane, body: string, options: OneOptions): Promise<AcceptedOne>;
  many(lane: Lane, body: string, options: ManyOptions): Promise<AcceptedMany>;
};
