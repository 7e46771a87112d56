import type { DeadLetter, DeadLetterFilter } from '../model/dead-letter.js';
import type { Backpressure, Page, PageQuery } from '../model/store.js';
import type { AcceptFromSource } from './accept-from-source.js';
import { readUnmappable } from './draft-source-entry.js';

export type ReingestDeps = {
  readonly deadLetters: {
    deadLetters(filter: DeadLetterFilter, page: PageQuery): Promise<Page<DeadLetter>>;
    deadLetter(id: string): Promise<DeadLetter | null>;
    discard(filter: DeadLetterFilter, options: { dryRun: boolean }): Promise<number>;
  };
  readonly accept: AcceptFromSource;
};

export type ReingestResult = {
  readonly matched: number;
  readonly reingested: number;
  /** Not null: the store accepted no further entries. */
  readonly backpressure: Backpressure | null;
};

/**
 * Ingests dead letters again that were never sent: by now a request may have named the person. An entry
 * that still cannot be mapped stays a dead letter.
 */
export type Reingest = (
  filter: DeadLetterFilter,
  options: { dryRun: boolean },
) => Promise<ReingestResult>;

const idsPerPage = 500;

export function createReingest({ deadLetters, accept }: ReingestDeps): Reingest {
  return async (filter, { dryRun }) => {
    const ids = await listNeverSent(deadLetters, filter);
    const matched = ids.length;
    let reingested = 0;
    if (dryRun) return { matched, reingested, backpressure: null };
    // Oldest first: of two updates of a profile the newer one must win.
    for (const id of ids.reverse()) {
      const deadLetter = await deadLetters.deadLetter(id);
      const post = deadLetter && readUnmappable(deadLetter);
      if (post === null) continue;
      const accepted = await accept(post, { strict: true, isReingest: true });
      if (accepted.kind === 'backpressure') return { matched, reingested, backpressure: accepted };
      if (accepted.kind === 'invalid') continue;
      // After a crash before this line, the next redrive appends a duplicate.
      reingested += await deadLetters.discard({ ids: [id] }, { dryRun: false });
    }
    return { matched, reingested, backpressure: null };
  };
}

/** Ids of the matching dead letters that were never sent, newest first. */
async function listNeverSent(
  deadLetters: ReingestDeps['deadLetters'],
  filter: DeadLetterFilter,
): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await deadLetters.deadLetters(
      { ...filter, neverSent: true },
      { limit: idsPerPage, cursor },
    );
    ids.push(...page.data.map(({ id }) => id));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return ids;
}
