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
  readonly #onDropped: (letter: DeadLetter) => void;
  readonly #letters = new Map<string, Numbered<StoredDeadLetter>>();
  #order = 0;
  readonly #counts: Record<StoreLane, number> = { ...mapStoreLanes(() => 0) };

  constructor(maxCount: number, onDropped: (letter: DeadLetter) => void) {
    this.#maxCount = maxCount;
    this.#onDropped = onDropped;
  }

  count(lane: StoreLane): number {
    return this.#counts[lane];
  }

  add(letter: StoredDeadLetter): void {
    // A copy, since the bytes lie in a block with those of others that are gone by now.
    const value = { ...letter, payload: Uint8Array.from(letter.payload) };
    this.#letters.set(letter.id, { order: this.#order++, value });
    this.#counts[letter.lane]++;
    for (const { value } of this.#letters.values()) {
      if (this.#letters.size <= this.#maxCount) break;
      this.remove(value);
      this.#onDropped(value);
    }
  }

  find(id: string): DeadLetter | null {
    return this.#letters.get(id)?.value ?? null;
  }

  list(
    filter: DeadLetterFilter,
    page: PageQuery,
    clock: Pick<Clock, 'monotonic'>,
  ): Promise<Page<DeadLetter>> {
    return toPage([...this.#letters.values()].reverse(), { ...page, clock }, toMatch(filter));
  }

  /** In the order in which they were buried; to be filtered with `toMatch`. */
  all(): readonly StoredDeadLetter[] {
    return Array.from(this.#letters.values(), ({ value }) => value);
  }

  /** False where it is not there any more. */
  remove(letter: DeadLetter): boolean {
    const isThere = this.#letters.delete(letter.id);
    if (isThere) this.#counts[letter.lane]--;
    return isThere;
  }
}

/** Whether the filter selects a letter. There may be thousands of ids, and a hundred thousand letters. */
export function toMatch({
  lane,
  reason,
  ids,
  neverSent: unsent,
  since = -Infinity,
  until = Infinity,
}: DeadLetterFilter): (letter: DeadLetter) => boolean {
  const wanted = ids && new Set(ids);
  return (letter) =>
    (lane === undefined || letter.lane === lane) &&
    (reason === undefined || letter.reason.code === reason) &&
    (wanted === undefined || wanted.has(letter.id)) &&
    (unsent === undefined || unsent === (letter.attempts === 0)) &&
    letter.deadLetteredAt >= since &&
    letter.deadLetteredAt <= until;
}
