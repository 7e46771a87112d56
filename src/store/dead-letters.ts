import type { Clock } from '../clock.js';
import type { DeadLetter, DeadLetterFilter } from '../model/dead-letter.js';
import type { StoreLane } from '../model/lane.js';
import type { Page, PageQuery } from '../model/store.js';
import { mapStoreLanes } from '../model/lane.js';
import { type Numbered, readPage } from './page.js';

/** Dead letters for one step of a redrive or discard, so that a large one does not block other work. */
export const deadLettersPerStep = 250;

/** A dead letter with the keys that a redrive needs. */
export type StoredDeadLetter = DeadLetter & { readonly keys: readonly string[] };

/** Dead letters in memory. Bounded by count; the oldest is dropped first. */
export class DeadLetters {
  readonly #maxCount: number;
  readonly #onDropped: (deadLetter: DeadLetter) => void;
  readonly #deadLetters = new Map<string, Numbered<StoredDeadLetter>>();
  #order = 0;
  readonly #counts: Record<StoreLane, number> = { ...mapStoreLanes(() => 0) };

  constructor(maxCount: number, onDropped: (deadLetter: DeadLetter) => void) {
    this.#maxCount = maxCount;
    this.#onDropped = onDropped;
  }

  count(lane: StoreLane): number {
    return this.#counts[lane];
  }

  add(deadLetter: StoredDeadLetter): void {
    // A copy, since the payload is part of a block with the payloads of envelopes that are settled.
    const value = { ...deadLetter, payload: Uint8Array.from(deadLetter.payload) };
    this.#deadLetters.set(deadLetter.id, { order: this.#order++, value });
    this.#counts[deadLetter.lane]++;
    for (const { value } of this.#deadLetters.values()) {
      if (this.#deadLetters.size <= this.#maxCount) break;
      this.remove(value);
      this.#onDropped(value);
    }
  }

  find(id: string): DeadLetter | null {
    return this.#deadLetters.get(id)?.value ?? null;
  }

  list(
    filter: DeadLetterFilter,
    page: PageQuery,
    clock: Pick<Clock, 'monotonic'>,
  ): Promise<Page<DeadLetter>> {
    return readPage(
      [...this.#deadLetters.values()].reverse(),
      { ...page, clock },
      createDeadLetterFilter(filter),
    );
  }

  /** Returns all dead letters in the order in which they were added. */
  all(): readonly StoredDeadLetter[] {
    return Array.from(this.#deadLetters.values(), ({ value }) => value);
  }

  /** Returns false if it was removed before. */
  remove(deadLetter: DeadLetter): boolean {
    const isThere = this.#deadLetters.delete(deadLetter.id);
    if (isThere) this.#counts[deadLetter.lane]--;
    return isThere;
  }
}

/**
 * Returns a predicate for the filter. It builds a set of the ids once, since there may be thousands of them and
 * 100,000 dead letters.
 */
export function createDeadLetterFilter({
  lane,
  reason,
  ids,
  neverSent,
  since = -Infinity,
  until = Infinity,
}: DeadLetterFilter): (deadLetter: DeadLetter) => boolean {
  const wanted = ids && new Set(ids);
  return (deadLetter) =>
    (lane === undefined || deadLetter.lane === lane) &&
    (reason === undefined || deadLetter.reason.code === reason) &&
    (wanted === undefined || wanted.has(deadLetter.id)) &&
    (neverSent === undefined || neverSent === (deadLetter.attempts === 0)) &&
    deadLetter.deadLetteredAt >= since &&
    deadLetter.deadLetteredAt <= until;
}
