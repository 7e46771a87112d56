import { z } from 'zod';
import type { Staged } from './group-commit.js';
import { decodeMemo, encodeMemo, toKey, type Keyed, type StoredMemo } from './memo.js';
import type { Tables } from './tables.js';
import { put, remove, type Write } from './write.js';

type Placed = { readonly key: Buffer; readonly order: number };

/** What is too much, where the bound was lowered, goes a few with each group, so that no group pays for all. */
const extraDrops = 64;
/** Keys lie anywhere in a table: a write may copy two of LMDB's pages for itself, a leaf and the branch above it. */
const scatteredBytes = 2 * 4096;

const statsSchema = z.object({ entryCount: z.int() });

/**
 * Memos on disk, by key and by age; bounded by count, oldest out. Nothing of them is in memory but
 * how many there are, and that is read from the tables: an older relay, which knows neither, may
 * have had the journal in between.
 *
 * One that comes again with its value is written anew, to count as new, only once half as many
 * newer ones as the bound were written: the same facts come with nearly every request of a person,
 * and three pages to write for each would be most of what a request costs.
 */
export class JournalMemos {
  readonly #tables: Tables;
  readonly #maxCount: number;
  #next: number;
  #count: number;

  constructor(tables: Tables, maxCount: number) {
    this.#tables = tables;
    this.#maxCount = maxCount;
    const [last = 0] = tables.memoOrders.getKeys({ start: Infinity, reverse: true, limit: 1 });
    this.#next = last + 1;
    this.#count = countMemos(tables);
  }

  /** Throws RangeError and DamagedError. */
  recall(key: string): string | null {
    return this.#maxCount === 0 ? null : (this.#find(toKey(key))?.value ?? null);
  }

  /** Throws DamagedError. */
  stage(memos: readonly Keyed[]): Staged<void> {
    const fresh: (Placed & StoredMemo)[] = [];
    const replaced = new Set<number>();
    for (const { key, value } of this.#maxCount === 0 ? [] : newestOfEach(memos)) {
      const known = this.#find(key);
      const order = this.#next + fresh.length;
      if (known?.value === value && known.order >= order - this.#maxCount / 2) continue;
      if (known !== null) replaced.add(known.order);
      fresh.push({ key, value, order });
    }
    const count = this.#count + fresh.length - replaced.size;
    const excess = Math.min(count - this.#maxCount, fresh.length + extraDrops);
    const dropped = this.#oldest(excess, { fresh, replaced });
    return {
      writes: [...this.#puts(fresh), ...this.#removals(replaced, dropped)],
      committed: () => {
        this.#next += fresh.length;
        this.#count = count - dropped.length;
      },
    };
  }

  #find(key: Buffer): StoredMemo | null {
    const bytes = this.#tables.memos.get(key);
    return bytes === undefined ? null : decodeMemo(key, bytes, 'a memo');
  }

  /** Of what will be there once the group's are written: those come last. */
  #oldest(
    count: number,
    { fresh, replaced }: { fresh: readonly Placed[]; replaced: ReadonlySet<number> },
  ): readonly Placed[] {
    if (count <= 0) return [];
    const oldest: Placed[] = [];
    for (const { key: order, value: key } of this.#tables.memoOrders.getRange()) {
      if (oldest.length === count) return oldest;
      if (!replaced.has(order)) oldest.push({ key, order });
    }
    return [...oldest, ...fresh.slice(0, count - oldest.length)];
  }

  #puts(fresh: readonly (Placed & StoredMemo)[]): readonly Write[] {
    const { memos, memoOrders } = this.#tables;
    return fresh.flatMap((one) => [
      scattered(put(memos, one.key, encodeMemo(one.key, one))),
      put(memoOrders, one.order, one.key),
    ]);
  }

  #removals(replaced: Iterable<number>, dropped: readonly Placed[]): readonly Write[] {
    const { memos, memoOrders } = this.#tables;
    return [
      ...[...replaced].map((order) => scattered(remove(memoOrders, order))),
      ...dropped.map(({ order }) => remove(memoOrders, order)),
      ...dropped.map(({ key }) => scattered(remove(memos, key))),
    ];
  }
}

export const toMemoBytes = (memos: readonly Keyed[]): number =>
  memos.reduce((sum, { key, value }) => sum + key.length + Buffer.byteLength(value), 0);

/** Bytes that a group may write for them: each is put, and takes another's place. */
export const toGroupBytes = (memos: readonly Keyed[]): number =>
  toMemoBytes(memos) + memos.length * 2 * scatteredBytes;

export function countMemos({ memoOrders }: Tables): number {
  return statsSchema.parse(memoOrders.getStats()).entryCount;
}

/** In the order in which each came last. */
function newestOfEach(memos: readonly Keyed[]): Iterable<Keyed> {
  const newest = new Map<string, Keyed>();
  for (const memo of memos) {
    const name = memo.key.toString();
    newest.delete(name);
    newest.set(name, memo);
  }
  return newest.values();
}

const scattered = (write: Write): Write => ({ ...write, bytes: write.bytes + scatteredBytes });
