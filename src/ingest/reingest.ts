import type { DeadLetter, DeadLetterFilter } from '../model/dead-letter.js';
import type { Page, PageQuery } from '../model/store.js';
import type { Backpressure } from '../model/store.js';
import type { AcceptFromSource } from './accept-from-source.js';
import { readUnmappable } from './unmappable-entry.js';

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
  /** The store took no more of them. */
  readonly backpressure: Backpressure | null;
};

/**
 * Tries again what went to the dead letters at the door: by now somebody may have told whom it is
 * about. What still cannot be sent stays where it is.
 */
export type Reingest = (
  filter: DeadLetterFilter,
  options: { dryRun: boolean },
) => Promise<ReingestResult>;

const idsPerPage = 500;

export function createReingest({ deadLetters: letters, accept }: ReingestDeps): Reingest {
  return async (filter, { dryRun }) => {
    const ids = await listIds(letters, filter);
    let mended = 0;
    if (dryRun) return { matched: ids.length, reingested: mended, backpressure: null };
    // Oldest first: of two updates of a profile the newer one wins.
    for (const id of ids.reverse()) {
      const letter = await letters.deadLetter(id);
      const post = letter && readUnmappable(letter);
      if (post === null) continue;
      const answer = await accept(post, { strict: true, isReingest: true });
      if (answer.kind === 'backpressure')
        return { matched: ids.length, reingested: mended, backpressure: answer };
      if (answer.kind === 'invalid') continue;
      // Where the relay ends here, the next time finds a duplicate.
      mended += await letters.discard({ ids: [id] }, { dryRun: false });
    }
    return { matched: ids.length, reingested: mended, backpressure: null };
  };
}

async function listIds(
  letters: ReingestDeps['deadLetters'],
  filter: DeadLetterFilter,
): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await letters.deadLetters(
      { ...filter, neverSent: true },
      { limit: idsPerPage, cursor },
    );
    ids.push(...page.data.map(({ id }) => id));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return ids;
}
