import { isBackfilled } from '../model/backfill.js';
import type { Draft } from '../model/envelope.js';
import type { Lane, StoreLane } from '../model/lane.js';
import type { AppendedEnvelope, Backpressure, Store } from '../model/store.js';
import type { Metrics } from '../metrics.js';
import { keepNewestRevocations, toRevocations } from './consent.js';

/** The store cannot accept anything now: none of the drafts was stored. */
export type AppendBackpressure = Backpressure & { readonly kind: 'backpressure' };

export type Appended = {
  readonly kind: 'appended';
  /** One for each draft, in order. */
  readonly envelopes: readonly AppendedEnvelope[];
  readonly duplicates: number;
};

const stored = { ok: true } as const;

export type AppendDeps = {
  readonly store: Pick<Store, 'append' | 'putFacts' | 'getFacts'>;
  readonly metrics: Pick<Metrics, 'ingest' | 'ingestBackfilled' | 'settled'>;
};

/**
 * The last step of the pipeline (accept.ts): appends drafts to the store, all or none, and counts the
 * result by lane.
 */
export async function appendDrafts(
  drafts: readonly Draft[],
  { store, metrics }: AppendDeps,
): Promise<Appended | AppendBackpressure> {
  if (drafts.length === 0) return { kind: 'appended', envelopes: [], duplicates: 0 };
  // The facts come first: if the relay ended in between, the caller repeats the request.
  const revocations = await keepNewestRevocations(toRevocations(drafts), (keys) =>
    store.getFacts(keys),
  );
  const put = revocations.length === 0 ? stored : await store.putFacts(revocations);
  const result = put.ok ? await store.append(drafts) : put;
  if (!result.ok) {
    const byLane = new Map<StoreLane, number>();
    for (const { lane } of drafts) byLane.set(lane, (byLane.get(lane) ?? 0) + 1);
    for (const [lane, number] of byLane) metrics.ingest.inc({ lane, outcome: 'refused' }, number);
    return { kind: 'backpressure', ...result.backpressure };
  }
  const { envelopes } = result;
  if (envelopes.length < drafts.length) {
    throw new Error('the store returned fewer envelopes than drafts');
  }
  return { kind: 'appended', envelopes, duplicates: countAppended(drafts, envelopes, metrics) };
}

type LaneCounts = { accepted: number; duplicate: number; deadLettered: number };

/** Counts what was stored. Returns the number of duplicates. */
function countAppended(
  drafts: readonly Draft[],
  envelopes: readonly AppendedEnvelope[],
  metrics: AppendDeps['metrics'],
): number {
  const byLane = new Map<StoreLane, LaneCounts>();
  let backfilled = 0;
  let duplicates = 0;
  for (let at = 0; at < drafts.length; at++) {
    const draft = drafts[at];
    if (draft === undefined) continue;
    const { lane, payload, deadLetterReason } = draft;
    const counts = byLane.get(lane) ?? { accepted: 0, duplicate: 0, deadLettered: 0 };
    byLane.set(lane, counts);
    const isDuplicate = envelopes[at]?.duplicate === true;
    if (isDuplicate) {
      counts.duplicate++;
      duplicates++;
    } else counts.accepted++;
    if (deadLetterReason !== undefined) counts.deadLettered++;
    else if (!isDuplicate && isBackfilled(lane, payload)) backfilled++;
  }
  for (const [lane, { accepted, duplicate, deadLettered }] of byLane) {
    if (accepted > 0) metrics.ingest.inc({ lane, outcome: 'accepted' }, accepted);
    if (duplicate > 0) metrics.ingest.inc({ lane, outcome: 'duplicate' }, duplicate);
    // A dead letter is accepted and settled at once, so that accepted = settled + buffered holds for each lane.
    if (deadLettered > 0) metrics.settled.inc({ lane, outcome: 'dead_lettered' }, deadLettered);
  }
  if (backfilled > 0) metrics.ingestBackfilled.inc(backfilled);
  return duplicates;
}

/**
 * Counts entries that are rejected because they are not valid, or because another entry of a strict
 * request is not. A body that is no list of entries counts as one.
 */
export function countInvalidEntries(
  { ingest }: Pick<Metrics, 'ingest'>,
  lane: Lane,
  number: number,
): void {
  if (number > 0) ingest.inc({ lane, outcome: 'invalid' }, number);
}

/** Counts accepted entries whose phone number was left out. */
export function countPhoneWarnings(
  { ingestWarnings }: Pick<Metrics, 'ingestWarnings'>,
  lane: Lane,
  number: number,
): void {
  if (number > 0) ingestWarnings.inc({ lane, warning: 'phone_unusable' }, number);
}
