import type { Draft, Fault } from '../envelope.js';
import { stringifyJson, type JsonObject } from '../json.js';
import type { ToE164 } from './phone.js';

/** What drafting needs beyond the entry itself. */
export type DraftContext = {
  /** Epoch ms. */
  readonly acceptedAt: number;
  /** A new unique_id. */
  readonly newId: () => string;
  readonly toE164: ToE164;
  /** The caller's Idempotency-Key; an event's own insert_id comes first. */
  readonly idempotencyKey?: string | undefined;
};

/** What became of one entry: what the store takes, or why not. Pointers start at the entry. */
export type Drafted =
  | { readonly ok: true; readonly draft: Draft; readonly warnings: readonly Fault[] }
  | { readonly ok: false; readonly errors: readonly Fault[] };

export function refuse(pointer: string, detail: string): Drafted {
  return { ok: false, errors: [{ pointer, detail }] };
}

const encoder = new TextEncoder();

/**
 * The one time a payload becomes bytes. Not `Buffer.from`, which cuts small payloads from a shared
 * 8 KB block: one that stays long, such as a dead letter, would keep the whole block.
 */
export function serialise(payload: JsonObject): Uint8Array {
  return encoder.encode(stringifyJson(payload));
}
