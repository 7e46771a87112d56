import type { Draft, StoreLane } from '../envelope.js';
import type { Metrics } from '../metrics.js';
import { count, countBackfilled } from './counts.js';

/** The store took none of it. */
export type RefusedAll = {
  readonly kind: 'refused';
  readonly reason: 'full' | 'disk' | 'closed' | 'unavailable' | 'lossy' | 'dead_letters';
  readonly retryAfterMs: number;
};

/** What accept asks of a store: all of the drafts or none, and one `taken` per draft, in order. */
export type Append = (drafts: readonly Draft[]) => Promise<
  | {
      readonly ok: true;
      readonly taken: readonly { readonly id: string; readonly duplicate: boolean }[];
    }
  | { readonly ok: false; readonly refusal: Omit<RefusedAll, 'kind'> }
>;

export type Appended = {
  readonly kind: 'appended';
  /** One for each draft, in order. */
  readonly taken: readonly { readonly id: string; readonly duplicate: boolean }[];
  readonly duplicates: number;
};

export type AppendDeps = {
  readonly store: { readonly append: Append };
  readonly metrics: Pick<Metrics, 'ingest' | 'ingestBackfilled' | 'settled'>;
};

/**
 * Puts drafts into the store, all or none, and counts what became of them by lane. Everything that is
 * accepted goes this way: of the API, of sources, and what is ingested again.
 */
export async function appendDrafts(
  drafts: readonly Draft[],
  { store, metrics }: AppendDeps,
): Promise<Appended | RefusedAll> {
  if (drafts.length === 0) return { kind: 'appended', taken: [], duplicates: 0 };
  const appended = await store.append(drafts);
  if (!appended.ok) {
    for (const [lane, refused] of tally(drafts)) count(metrics, lane, { refused });
    return { kind: 'refused', ...appended.refusal };
  }
  const { taken } = appended;
  if (taken.length < drafts.length) throw new Error('the store did not answer for each draft');
  const fresh = drafts.filter((_, at) => taken[at]?.duplicate === false);
  const repeated = drafts.filter((_, at) => taken[at]?.duplicate === true);
  for (const [lane, accepted] of tally(fresh)) count(metrics, lane, { accepted });
  for (const [lane, duplicate] of tally(repeated)) count(metrics, lane, { duplicate });
  // A dead letter is accepted and settled at once, so that accepted = settled + buffered stays true of each lane.
  const deadLetters = drafts.filter(({ bury }) => bury !== undefined);
  for (const [lane, number] of tally(deadLetters)) {
    metrics.settled.inc({ lane, outcome: 'dead_lettered' }, number);
  }
  countBackfilled(metrics, drafts, taken);
  return { kind: 'appended', taken, duplicates: repeated.length };
}

/** How many drafts each lane has. */
function tally(drafts: readonly Draft[]): ReadonlyMap<StoreLane, number> {
  const counts = new Map<StoreLane, number>();
  for (const { lane } of drafts) counts.set(lane, (counts.get(lane) ?? 0) + 1);
  return counts;
}
