import { isBackfilled } from '../model/backfill.js';
import type { Draft } from '../model/envelope.js';
import type { Lane, StoreLane } from '../model/lane.js';
import type { Metrics } from '../metrics.js';

/** What became of a request's entries; a body that is no list counts as one. */
export type Counts = {
  readonly accepted?: number;
  readonly duplicate?: number;
  /** Not valid, or taken down with one that is not (`strict`). */
  readonly invalid?: number;
  readonly refused?: number;
};

export function count({ ingest }: Pick<Metrics, 'ingest'>, lane: StoreLane, counts: Counts): void {
  for (const [outcome, number] of Object.entries(counts)) {
    if (number > 0) ingest.inc({ lane, outcome }, number);
  }
}

/** `warning`: a stable code, such as `phone_unusable` for a phone number that was left out. */
export function countWarnings(
  { ingestWarnings }: Pick<Metrics, 'ingestWarnings'>,
  lane: Lane,
  { warning = 'phone_unusable', count: number }: { warning?: string; readonly count: number },
): void {
  if (number > 0) ingestWarnings.inc({ lane, warning }, number);
}

/** Accepted events that are backfilled; `envelopes` has one for each draft, in order. A dead letter is none. */
export function countBackfilled(
  { ingestBackfilled }: Pick<Metrics, 'ingestBackfilled'>,
  drafts: readonly Draft[],
  envelopes: readonly { readonly duplicate: boolean }[],
): void {
  let number = 0;
  drafts.forEach(({ lane, payload, deadLetterReason }, at) => {
    const isAccepted = envelopes[at]?.duplicate === false && deadLetterReason === undefined;
    if (isAccepted && isBackfilled(lane, payload)) number++;
  });
  if (number > 0) ingestBackfilled.inc(number);
}
