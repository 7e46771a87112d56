import type { Draft } from '../model/envelope.js';
import type { StoreLane } from '../model/lane.js';
import type { AppendedEnvelope, Backpressure, Store } from '../model/store.js';
import type { Metrics } from '../metrics.js';
import { count, countBackfilled } from './counts.js';

/** The store cannot accept anything now: none of the drafts was stored. */
export type AppendBackpressure = Backpressure & { readonly kind: 'backpressure' };

export type Appended = {
  readonly kind: 'appended';
  /** One for each draft, in order. */
  readonly envelopes: readonly AppendedEnvelope[];
  readonly duplicates: number;
};

export type AppendDeps = {
  readonly store: Pick<Store, 'append'>;
  readonly metrics: Pick<Metrics, 'ingest' | 'ingestBackfilled' | 'settled'>;
};

/**
 * Puts drafts into the store, all or none, and counts what became of them by lane. Everything that is
 * accepted goes this way: of the API, of sources, and what is ingested again.
 */
export async function appendDrafts(
  drafts: readonly Draft[],
  { store, metrics }: AppendDeps,
): Promise<Appended | AppendBackpressure> {
  if (drafts.length === 0) return { kind: 'appended', envelopes: [], duplicates: 0 };
  const appended = await store.append(drafts);
  if (!appended.ok) {
    for (const [lane, refused] of tally(drafts)) count(metrics, lane, { refused });
    return { kind: 'backpressure', ...appended.backpressure };
  }
  const { envelopes } = appended;
  if (envelopes.length < drafts.length) throw new Error('the store did not answer for each draft');
  const fresh = drafts.filter((_, at) => envelopes[at]?.duplicate === false);
  const repeated = drafts.filter((_, at) => envelopes[at]?.duplicate === true);
  for (const [lane, accepted] of tally(fresh)) count(metrics, lane, { accepted });
  for (const [lane, duplicate] of tally(repeated)) count(metrics, lane, { duplicate });
  // A dead letter is accepted and settled at once, so that accepted = settled + buffered stays true of each lane.
  const deadLetters = drafts.filter(({ deadLetterReason }) => deadLetterReason !== undefined);
  for (const [lane, number] of tally(deadLetters)) {
    metrics.settled.inc({ lane, outcome: 'dead_lettered' }, number);
  }
  countBackfilled(metrics, drafts, envelopes);
  return { kind: 'appended', envelopes, duplicates: repeated.length };
}

/** How many drafts each lane has. */
function tally(drafts: readonly Draft[]): ReadonlyMap<StoreLane, number> {
  const counts = new Map<StoreLane, number>();
  for (const { lane } of drafts) counts.set(lane, (counts.get(lane) ?? 0) + 1);
  return counts;
}
