import type { Clock } from '../clock.js';
import type { DeadLetter, DeadLetterFilter } from '../model/dead-letter.js';
import type { StoreLane } from '../model/lane.js';
import type { Page, PageQuery } from '../model/store.js';
import { mapStoreLanes } from '../model/lane.js';
import { type Numbered, toPage } from './page.js';

/** A dead letter with the keys it needs to be sent again. */
export type StoredDeadLetter = DeadLetter & { readonly keys: readonly string[] };

/** What the relay gave up on, until a person decides; bounded by count, oldest out. */
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
    // A copy, since the bytes lie in a block with those of others that are gone by now.
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
    return toPage(
      [...this.#deadLetters.values()].reverse(),
      { ...page, clock },
      createDeadLetterFilter(filter),
    );
  }

  /** In the order in which they were buried; to be filtered with `toMatch`. */
  all(): readonly StoredDeadLetter[] {
    return Array.from(this.#deadLetters.values(), ({ value }) => value);
  }

  /** False where it is not there any more. */
  remove(deadLetter: DeadLetter): boolean {
    const isThere = this.#deadLetters.delete(deadLetter.id);
    if (isThere) this.#counts[deadLetter.lane]--;
    return isThere;
  }
}

/** Whether the filter selects a deadLetter. There may be thousands of ids, and a hundred thousand deadLetters. */
export function createDeadLetterFilter({
  lane,
  reason,
  ids,
  neverSent: unsent,
  since = -Infinity,
  until = Infinity,
}: DeadLetterFilter): (deadLetter: DeadLetter) => boolean {
  const wanted = ids && new Set(ids);
  return (deadLetter) =>
    (lane === undefined || deadLetter.lane === lane) &&
    (reason === undefined || deadLetter.reason.code === reason) &&
    (wanted === undefined || wanted.has(deadLetter.id)) &&
    (unsent === undefined || unsent === (deadLetter.attempts === 0)) &&
    deadLetter.deadLetteredAt >= since &&
    deadLetter.deadLetteredAt <= until;
}
