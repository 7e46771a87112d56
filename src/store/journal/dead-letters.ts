import type { Clock } from '../../clock.js';
import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { Page, PageQuery } from '../../model/store.js';
import { toMatch } from '../dead-letters.js';
import { fromId } from '../ids.js';
import { toOrder, toPage } from '../page.js';
import { decodeDeadLetter, encodeDeadLetter, type JournalDeadLetter } from './dead-letter-codec.js';
import type { Tables } from './tables.js';
import { laneNumbers, type Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

export type Numbered = { readonly order: number; readonly letter: JournalDeadLetter };

/** The writes that bury letters, and what is dropped for them. */
export type DeadLetterPlan = {
  readonly writes: readonly Write[];
  readonly dropped: readonly JournalDeadLetter[];
};

/** Dead letters on disk, in the order in which they were given up; bounded by count, oldest out. */
export class JournalDeadLetters {
  readonly #tables: Tables;
  readonly #maxCount: number;
  /** Orders that the group under way takes out: they lie on disk, and what is staged next must not find them. */
  readonly #leaving = new Set<number>();

  constructor(tables: Tables, maxCount: number) {
    this.#tables = tables;
    this.#maxCount = maxCount;
  }

  /** A group begins: what the one before staged is on disk by now, or never will be. */
  beginGroup(): void {
    this.#leaving.clear();
  }

  /** Changes the counts of `draft`. What does not fit any more is dropped, oldest first, the new ones last. */
  add(letters: readonly JournalDeadLetter[], draft: Totals): DeadLetterPlan {
    const excess = Math.max(0, toCount(draft) + letters.length - this.#maxCount);
    const oldest = this.#oldest(excess);
    const [unkept, kept] = cut(letters, excess - oldest.length);
    const writes = kept.flatMap((letter) => {
      draft.lanes[letter.lane].deadLetters++;
      const order = draft.nextLetter++;
      return [
        put(this.#tables.letters, order, encodeDeadLetter(letter)),
        put(this.#tables.letterOrders, [laneNumbers[letter.lane], letter.seq], order),
      ];
    });
    return {
      writes: [...writes, ...this.remove(oldest, draft)],
      dropped: [...oldest.map(({ letter }) => letter), ...unkept],
    };
  }

  /** The writes that take letters out. Changes the counts of `draft`. */
  remove(letters: readonly Numbered[], draft: Totals): readonly Write[] {
    for (const { order, letter } of letters) {
      draft.lanes[letter.lane].deadLetters--;
      this.#leaving.add(order);
    }
    return letters.flatMap(({ order, letter }) => [
      remove(this.#tables.letters, order),
      remove(this.#tables.letterOrders, [laneNumbers[letter.lane], letter.seq]),
    ]);
  }

  find(id: string): DeadLetter | null {
    const number = fromId(id);
    if (number === null) return null;
    const order = this.#tables.letterOrders.get([laneNumbers[number.lane], number.seq]);
    const letter = order === undefined ? null : this.#read(order);
    return letter?.id === id ? letter : null;
  }

  async list(
    filter: DeadLetterFilter,
    page: PageQuery,
    clock: Pick<Clock, 'monotonic'>,
  ): Promise<Page<DeadLetter>> {
    const from = toOrder(page.cursor);
    if (Number.isNaN(from)) return { data: [], next: null };
    const newestFirst = this.#tables.letters.getRange({ start: from, reverse: true });
    const entries = newestFirst.map(({ key, value }) => ({
      order: key,
      value: decodeDeadLetter(value, `dead letter ${key}`),
    }));
    return toPage(entries, { ...page, clock }, toMatch(filter));
  }

  /** The oldest matching ones from an order on, so many at most. `next` is where to go on; null at the end. */
  scan(
    isMatch: (letter: DeadLetter) => boolean,
    { from, below, limit }: { from: number; below: number; limit: number },
  ): { readonly found: readonly Numbered[]; readonly next: number | null } {
    const found: Numbered[] = [];
    let seen = 0;
    for (const { key, value } of this.#tables.letters.getRange({ start: from, end: below })) {
      // Also where few match: a scan of many letters must not hold up everything else.
      if (seen++ === limit) return { found, next: key };
      if (this.#leaving.has(key)) continue;
      const letter = decodeDeadLetter(value, `dead letter ${key}`);
      if (isMatch(letter)) found.push({ order: key, letter });
    }
    return { found, next: null };
  }

  #oldest(count: number): readonly Numbered[] {
    if (count === 0) return [];
    const range = this.#tables.letters.getRange({ limit: count + this.#leaving.size });
    return [...range]
      .filter(({ key }) => !this.#leaving.has(key))
      .slice(0, count)
      .map(({ key, value }) => ({
        order: key,
        letter: decodeDeadLetter(value, `dead letter ${key}`),
      }));
  }

  #read(order: number): JournalDeadLetter | null {
    const bytes = this.#tables.letters.get(order);
    return bytes === undefined ? null : decodeDeadLetter(bytes, `dead letter ${order}`);
  }
}

const toCount = ({ lanes }: Totals): number =>
  Object.values(lanes).reduce((sum, { deadLetters }) => sum + deadLetters, 0);

const cut = <T>(all: readonly T[], at: number): readonly [readonly T[], readonly T[]] => [
  all.slice(0, at),
  all.slice(at),
];
