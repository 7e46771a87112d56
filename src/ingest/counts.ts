import type { Lane } from '../envelope.js';
import type { Metrics } from '../metrics.js';

/** What became of a request's entries; a body that is no list counts as one. */
export type Counts = {
  readonly accepted?: number;
  readonly duplicate?: number;
  /** Not valid, or taken down with one that is not (`strict`). */
  readonly invalid?: number;
  readonly refused?: number;
};

export function count({ ingest }: Pick<Metrics, 'ingest'>, lane: Lane, counts: Counts): void {
  for (const [outcome, number] of Object.entries(counts)) {
    if (number > 0) ingest.inc({ lane, outcome }, number);
  }
}

/** There is one kind of warning: a phone number that was left out. */
export function countWarnings(
  { ingestWarnings }: Pick<Metrics, 'ingestWarnings'>,
  lane: Lane,
  number: number,
): void {
  if (number > 0) ingestWarnings.inc({ lane, warning: 'phone_unusable' }, number);
}
