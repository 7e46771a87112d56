import type { Fault, Lane } from '../envelope.js';
import { collect, type Collected } from './collect.js';
import type { DraftContext } from './draft.js';
import { listJson, listNdjson } from './entries.js';

/** A request for many: its whole text, and when it came. */
export type ManyPosted = {
  readonly lane: Lane;
  readonly body: string;
  readonly format: 'json' | 'ndjson';
  /** Epoch ms. */
  readonly acceptedAt: number;
};

/** Not ok: the body is no list of entries at all. `count`: entries in it. */
export type DraftedMany =
  | { readonly ok: false; readonly errors: readonly Fault[] }
  | { readonly ok: true; readonly count: number; readonly collected: Collected };

/** Reads, validates, maps and serialises all of a request. */
export type DraftMany = (posted: ManyPosted) => Promise<DraftedMany>;

export function createDraftMany(context: Pick<DraftContext, 'newId' | 'toE164'>): DraftMany {
  return async ({ lane, body, format, acceptedAt }) => {
    const listed = format === 'json' ? listJson(lane, body) : listNdjson(body);
    if (!listed.ok) return listed;
    const { entries } = listed;
    const collected = await collect(lane, entries, { ...context, acceptedAt });
    return { ok: true, count: entries.length, collected };
  };
}
