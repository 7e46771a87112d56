import type { Clock } from '../../clock.js';
import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { Page, PageQuery } from '../../model/store.js';
import { createDeadLetterFilter } from '../dead-letters.js';
import { fromId } from '../ids.js';
import { parseCursor, readPage } from '../page.js';
import { decodeDeadLetter, encodeDeadLetter, type JournalDeadLetter } from './dead-letter-codec.js';
import { readInPages } from './read-pages.js';
import type { Tables } from './tables.js';
import { type Totals } from './totals.js';
import { put, remove, type Write } from './write.js';
import { laneTraits } from '../../model/lane.js';

export type NumberedDeadLetter = { readonly order: number; readonly deadLetter: JournalDeadLetter };

/** The writes that add dead letters, and the dead letters that are dropped at the bound. */
export type DeadLetterPlan = {
  readonly writes: readonly Write[];
  readonly dropped: readonly JournalDeadLetter[];
};

/** Dead letters on disk, in the order in which they were added. Bounded by count; the oldest is dropped first. */
export class JournalDeadLetters {
  readonly #tables: Tables;
  readonly #maxCount: number;
  /**
   * Orders that the current group removes. They are still on disk, and later stages of the group must skip them.
   */
  readonly #removedInGroup = new Set<number>();

  constructor(tables: Tables, maxCount: number) {
    this.#tables = tables;
    this.#maxCount = maxCount;
  }

  /** Starts a group: the writes of the previous one have ended. */
  beginGroup(): void {
    this.#removedInGroup.clear();
  }

  /** Stages new dead letters and updates `nextTotals`. At the bound the oldest are dropped, the new ones last. */
  add(deadLetters: readonly JournalDeadLetter[], nextTotals: Totals): DeadLetterPlan {
    const excess = Math.max(0, toCount(nextTotals) + deadLetters.length - this.#maxCount);
    const oldest = this.#findOldest(excess);
    const [unkept, kept] = splitAt(deadLetters, excess - oldest.length);
    const writes = kept.flatMap((deadLetter) => {
      nextTotals.lanes[deadLetter.lane].deadLetters++;
      const order = nextTotals.nextLetter++;
      return [
        put(this.#tables.deadLetters, order, encodeDeadLetter(deadLetter)),
        put(
          this.#tables.deadLetterOrders,
          [laneTraits[deadLetter.lane].number, deadLetter.seq],
          order,
        ),
      ];
    });
    return {
      writes: [...writes, ...this.remove(oldest, nextTotals)],
      dropped: [...oldest.map(({ deadLetter }) => deadLetter), ...unkept],
    };
  }

  /** Returns the writes that remove dead letters, and updates `nextTotals`. */
  remove(deadLetters: readonly NumberedDeadLetter[], nextTotals: Totals): readonly Write[] {
    for (const { order, deadLetter } of deadLetters) {
      nextTotals.lanes[deadLetter.lane].deadLetters--;
      this.#removedInGroup.add(order);
    }
    return deadLetters.flatMap(({ order, deadLetter }) => [
      remove(this.#tables.deadLetters, order),
      remove(this.#tables.deadLetterOrders, [laneTraits[deadLetter.lane].number, deadLetter.seq]),
    ]);
  }

  /** Yields all dead letters, oldest first. Throws DamagedError. */
  *values(): Generator<JournalDeadLetter> {
    for (const { key, value } of readInPages(this.#tables.deadLetters)) {
      yield decodeDeadLetter(value, `dead letter ${key}`);
    }
  }

  find(id: string): DeadLetter | null {
    const number = fromId(id);
    if (number === null) return null;
    const order = this.#tables.deadLetterOrders.get([laneTraits[number.lane].number, number.seq]);
    const deadLetter = order === undefined ? null : this.#read(order);
    return deadLetter?.id === id ? deadLetter : null;
  }

  async list(
    filter: DeadLetterFilter,
    page: PageQuery,
    clock: Pick<Clock, 'monotonic'>,
  ): Promise<Page<DeadLetter>> {
    const from = parseCursor(page.cursor);
    if (Number.isNaN(from)) return { data: [], next: null };
    const newestFirst = this.#tables.deadLetters.getRange({ start: from, reverse: true });
    const entries = newestFirst.map(({ key, value }) => ({
      order: key,
      value: decodeDeadLetter(value, `dead letter ${key}`),
    }));
    return readPage(entries, { ...page, clock }, createDeadLetterFilter(filter));
  }

  /**
   * Finds the oldest matches from an order on. It reads at most `limit` dead letters; `next` is where the scan
   * continues, and null at the end.
   */
  scan(
    isMatch: (deadLetter: DeadLetter) => boolean,
    { from, below, limit }: { from: number; below: number; limit: number },
  ): { readonly found: readonly NumberedDeadLetter[]; readonly next: number | null } {
    const found: NumberedDeadLetter[] = [];
    let scanned = 0;
    for (const { key, value } of this.#tables.deadLetters.getRange({ start: from, end: below })) {
      // The limit counts all dead letters read, also if few match, so that a scan never blocks other work.
      if (scanned++ === limit) return { found, next: key };
      if (this.#removedInGroup.has(key)) continue;
      const deadLetter = decodeDeadLetter(value, `dead letter ${key}`);
      if (isMatch(deadLetter)) found.push({ order: key, deadLetter });
    }
    return { found, next: null };
  }

  #findOldest(count: number): readonly NumberedDeadLetter[] {
    if (count === 0) return [];
    const range = this.#tables.deadLetters.getRange({ limit: count + this.#removedInGroup.size });
    return [...range]
      .filter(({ key }) => !this.#removedInGroup.has(key))
      .slice(0, count)
      .map(({ key, value }) => ({
        order: key,
        deadLetter: decodeDeadLetter(value, `dead letter ${key}`),
      }));
  }

  #read(order: number): JournalDeadLetter | null {
    const bytes = this.#tables.deadLetters.get(order);
    return bytes === undefined ? null : decodeDeadLetter(bytes, `dead letter ${order}`);
  }
}

const toCount = ({ lanes }: Totals): number =>
  Object.values(lanes).reduce((sum, { deadLetters }) => sum + deadLetters, 0);

const splitAt = <T>(all: readonly T[], at: number): readonly [readonly T[], readonly T[]] => [
  all.slice(0, at),
  all.slice(at),
];
