import type { Draft, Fault } from '../envelope.js';
import type { Invalid } from './faults.js';
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
  /** The caller's Idempotency-Key; an event's own insert_id comes first. */
  readonly idempotencyKey?: string | undefined;
};

/** What became of one entry: what the store takes, or why not. Pointers start at the entry. */
export type Drafted =
  { readonly ok: true; readonly draft: Draft; readonly warnings: readonly Fault[] } | Invalid;

/**
 * The one time a payload becomes bytes. Small ones are cut from a block that they share
 * (Buffer.poolSize), which takes half the time: whoever keeps one for long while its neighbours go makes
 * a copy.
 */
export function toBytes(payload: string): Uint8Array {
  return Buffer.from(payload);
}
