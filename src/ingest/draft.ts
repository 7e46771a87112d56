import type { Draft } from '../model/envelope.js';
import type { Issue } from '../model/outcome.js';
import type { Invalid } from './validation-issues.js';
import type { ToE164 } from './phone.js';

/** What Klaviyo takes of an event, as far as that differs between its revisions. */
export type EventRules = {
  /** Names directly under an event's properties, those the mapping adds included. */
  readonly maxEventProperties: number;
  /** Epoch ms. */
  readonly earliestEventTime: number;
};

/** What drafting needs beyond the entry itself. */
export type DraftContext = {
  /** Epoch ms. */
  readonly acceptedAt: number;
  /** A new unique_id. */
  readonly newId: () => string;
  readonly toE164: ToE164;
  readonly rules: EventRules;
  /** Epoch ms; events of before are backfilled: recorded by Klaviyo without triggering flows. */
  readonly backfillBefore: number;
  /** The caller's Idempotency-Key; an event's own insert_id comes first. */
  readonly idempotencyKey?: string | undefined;
};

/** Which events of a request are backfilled. */
export type BackfillRequest = {
  /** Of all of them, as the caller says. Absent: their age decides. */
  readonly backfill?: boolean | undefined;
  /** Epoch ms. */
  readonly acceptedAt: number;
  /** BACKFILL_AFTER: age at acceptance beyond which an event is backfilled. */
  readonly afterMs: number;
};

/** Pure: epoch ms; events of before are backfilled. */
export function toBackfillBefore({ backfill, acceptedAt, afterMs }: BackfillRequest): number {
  if (backfill === undefined) return acceptedAt - afterMs;
  return backfill ? Infinity : -Infinity;
}

/** What became of one entry: what the store takes, or why not. Pointers start at the entry. */
export type Drafted =
  { readonly ok: true; readonly draft: Draft; readonly warnings: readonly Issue[] } | Invalid;

/**
 * The one time a payload becomes bytes. Small ones are cut from a block that they share
 * (Buffer.poolSize), which takes half the time: whoever keeps one for long while its neighbours go makes
 * a copy.
 */
export function toBytes(payload: string): Uint8Array {
  return Buffer.from(payload);
}
