import { z } from 'zod';
import type { Clock } from '../../clock.js';
import { factKinds, type FactKind } from '../../model/fact.js';
import { extraDrops, isWorthRenewing, mapKinds, type FactBounds } from '../facts.js';
import { RetentionTime } from '../retention-time.js';
import {
  decodeFact,
  decodeDatedFact,
  decodePlace,
  encodeFact,
  encodePlace,
  kindNumbers,
  toKey,
  type Keyed,
  type Placed,
  type StoredFact,
} from './fact.js';
import type { Staged } from './group-commit.js';
import type { Tables } from './tables.js';
import { put, remove, type Write } from './write.js';

/** Keys lie anywhere in a table: a write may copy two of LMDB's pages for itself, a leaf and the branch above it. */
const scatteredBytes = 2 * 4096;

const statsSchema = z.object({ entryCount: z.int() });

/** What memory knows of the facts of one kind. */
type KindState = {
  next: number;
  count: number;
  readonly time: RetentionTime;
};

type PlacedFact = Placed & { readonly kind: FactKind; readonly order: number };
type Fresh = PlacedFact & StoredFact;
type PlacedMemo = { readonly key: Buffer; readonly order: number };

/** Orders of facts, by kind. */
type Orders = Readonly<Record<FactKind, ReadonlySet<number>>>;

/**
 * Facts on disk, by key and, within each kind, by age; bounded by count and by age, oldest out. Memory
 * holds how many of each kind there are and no fact.
 *
 * One that comes again with its value is written anew, to count as new, only once half as many
 * newer ones as the bound were written or a tenth of its age bound is over: the same facts come with
 * nearly every request of a person, and three pages to write for each would be most of what a request
 * costs.
 *
 * Facts of an earlier version (memos) have neither kind nor time and lie in tables of their own. They
 * are found there, so nothing is migrated, and an earlier version finds what it wrote when it opens the
 * directory again. A fact that is put removes a memo under its key; a memo under a key of a fact was
 * therefore written later, by an earlier version. Memos are removed, oldest first, as facts about people
 * take their place.
 */
export class JournalFacts {
  readonly #tables: Tables;
  readonly #bounds: FactBounds;
  readonly #kinds: Readonly<Record<FactKind, KindState>>;
  #memoCount: number;
  /** Kinds that no fact is put of lose what is too old, too: one kind with each write. */
  #turn = 0;

  constructor(tables: Tables, bounds: FactBounds, clock: Clock) {
    this.#tables = tables;
    this.#bounds = bounds;
    this.#kinds = mapKinds((kind) => {
      const newest = newestOf(tables, kind);
      return {
        next: (newest?.order ?? 0) + 1,
        count: tables.factOrders.getKeysCount(toRange(kind)),
        time: new RetentionTime(clock, newest?.at ?? null, bounds.maxAgeMs[kind] / 2),
      };
    });
    this.#memoCount = countEntries(tables.memoOrders);
  }

  /** Throws RangeError and DamagedError. */
  get(key: string): string | null {
    const bytes = toKey(key);
    if (this.#bounds.maxCount === 0) return null;
    const memo = this.#findMemo(bytes);
    if (memo !== null) return memo.value;
    const fact = this.#find(bytes);
    return fact === null || this.#isExpired(fact) ? null : fact.value;
  }

  /** Throws DamagedError. */
  stage(facts: readonly Keyed[]): Staged<void> {
    const { fresh, replaced, memos } = this.#place(facts);
    const dropped = this.#kindsToDrop(facts).flatMap((kind) =>
      this.#oldest(
        kind,
        fresh.filter((one) => one.kind === kind),
        replaced[kind],
      ),
    );
    const counts = mapKinds(
      (kind) =>
        this.#kinds[kind].count +
        fresh.filter((one) => one.kind === kind).length -
        replaced[kind].size -
        dropped.filter((one) => one.kind === kind).length,
    );
    const goneMemos = [...memos, ...this.#oldestMemos(facts.length, memos, counts)];
    return {
      writes: [
        ...this.#puts(fresh),
        ...factKinds.flatMap((kind) =>
          [...replaced[kind]].map((order) => this.#removePlace({ kind, order })),
        ),
        ...dropped.map((one) => this.#removePlace(one)),
        ...dropped.map(({ key }) => scattered(remove(this.#tables.facts, key))),
        ...goneMemos.flatMap(({ key, order }) => [
          scattered(remove(this.#tables.memoOrders, order)),
          scattered(remove(this.#tables.memos, key)),
        ]),
      ],
      committed: () => {
        for (const kind of factKinds) this.#kinds[kind].count = counts[kind];
        for (const { kind, order } of fresh) this.#kinds[kind].next = order + 1;
        this.#memoCount -= goneMemos.length;
      },
    };
  }

  /** Which of them are written, and what they take the place of. */
  #place(facts: readonly Keyed[]): {
    readonly fresh: readonly Fresh[];
    readonly replaced: Orders;
    readonly memos: readonly PlacedMemo[];
  } {
    const fresh: Fresh[] = [];
    const replaced = mapKinds(() => new Set<number>());
    const memos: PlacedMemo[] = [];
    const next = mapKinds((kind) => this.#kinds[kind].next);
    const orders: Record<FactKind, number> = { ...next };
    for (const { kind, key, value } of this.#bounds.maxCount === 0 ? [] : newestOfEach(facts)) {
      const memo = this.#findMemo(key);
      const known = this.#find(key);
      if (memo === null && known?.kind === kind && known.value === value)
        if (this.#isYoung(known, orders[kind])) continue;
      if (memo !== null) memos.push({ key, order: memo.order });
      if (known !== null) replaced[known.kind].add(known.order);
      const at = Math.floor(this.#kinds[kind].time.now());
      fresh.push({ kind, key, value, order: orders[kind]++, at });
    }
    return { fresh, replaced, memos };
  }

  #isYoung({ kind, order, at }: StoredFact, nextOrder: number): boolean {
    const { maxCount, maxAgeMs } = this.#bounds;
    const ageMs = this.#kinds[kind].time.now() - at;
    return order >= nextOrder - maxCount / 2 && !isWorthRenewing(ageMs, maxAgeMs[kind]);
  }

  #isExpired({ kind, at }: Pick<StoredFact, 'kind' | 'at'>): boolean {
    return this.#kinds[kind].time.now() - at >= this.#bounds.maxAgeMs[kind];
  }

  #find(key: Buffer): StoredFact | null {
    const bytes = this.#tables.facts.get(key);
    return bytes === undefined ? null : decodeFact(key, bytes, 'a fact');
  }

  #findMemo(key: Buffer): { readonly order: number; readonly value: string } | null {
    const bytes = this.#memoCount === 0 ? undefined : this.#tables.memos.get(key);
    return bytes === undefined ? null : decodeDatedFact(key, bytes, 'a fact');
  }

  #kindsToDrop(facts: readonly Keyed[]): readonly FactKind[] {
    if (facts.length === 0) return [];
    const turn = factKinds[this.#turn++ % factKinds.length] ?? 'other';
    return [...new Set([...facts.map(({ kind }) => kind), turn])];
  }

  /** Beyond the bounds, of what will be there once the group's are written: those come last. */
  #oldest(
    kind: FactKind,
    fresh: readonly Fresh[],
    replaced: ReadonlySet<number>,
  ): readonly PlacedFact[] {
    const count = this.#kinds[kind].count + fresh.length - replaced.size;
    const most = fresh.length + extraDrops;
    const excess = Math.min(count - this.#bounds.maxCount, most);
    const oldest: PlacedFact[] = [];
    for (const { key, value } of this.#tables.factOrders.getRange(toRange(kind))) {
      if (oldest.length === most) return oldest;
      const place = { kind, order: key[1], ...decodePlace(value) };
      if (replaced.has(place.order)) continue;
      if (oldest.length >= excess && !this.#isExpired(place)) return oldest;
      oldest.push(place);
    }
    return [...oldest, ...fresh.slice(0, Math.max(0, excess - oldest.length))];
  }

  /** As many as facts about people have taken the place of, with a bound for both together. */
  #oldestMemos(
    puts: number,
    replaced: readonly PlacedMemo[],
    counts: Readonly<Record<FactKind, number>>,
  ): readonly PlacedMemo[] {
    const left = this.#memoCount - replaced.length;
    if (left === 0) return [];
    const people = factKinds.reduce(
      (sum, kind) => sum + (kind === 'delivery' ? 0 : counts[kind]),
      0,
    );
    const excess = Math.min(left + people - this.#bounds.maxCount, puts + extraDrops);
    const leaving = new Set(replaced.map(({ order }) => order));
    const oldest: PlacedMemo[] = [];
    if (excess <= 0) return [];
    for (const { key: order, value: key } of this.#tables.memoOrders.getRange()) {
      if (!leaving.has(order)) oldest.push({ key, order });
      if (oldest.length >= excess) break;
    }
    return oldest;
  }

  #puts(fresh: readonly Fresh[]): readonly Write[] {
    const { facts, factOrders } = this.#tables;
    return fresh.flatMap((one) => [
      scattered(put(facts, one.key, encodeFact(one.key, one))),
      put(factOrders, [kindNumbers[one.kind], one.order], encodePlace(one)),
    ]);
  }

  #removePlace({ kind, order }: Pick<PlacedFact, 'kind' | 'order'>): Write {
    return scattered(remove(this.#tables.factOrders, [kindNumbers[kind], order]));
  }
}

export const toFactBytes = (facts: readonly Keyed[]): number =>
  facts.reduce((sum, { key, value }) => sum + key.length + Buffer.byteLength(value), 0);

/** Bytes that a group may write for them: each is put, takes another's place, and may remove a memo. */
export const toGroupBytes = (facts: readonly Keyed[]): number =>
  toFactBytes(facts) + facts.length * 3 * scatteredBytes;

/** Those of an earlier version included. */
export function countFacts({ factOrders, memoOrders }: Tables): number {
  return countEntries(factOrders) + countEntries(memoOrders);
}

function countEntries(table: Tables['factOrders'] | Tables['memoOrders']): number {
  return statsSchema.parse(table.getStats()).entryCount;
}

function newestOf(
  { factOrders }: Tables,
  kind: FactKind,
): { readonly order: number; readonly at: number } | null {
  const { start, end } = toRange(kind);
  for (const { key, value } of factOrders.getRange({
    start: end,
    end: start,
    reverse: true,
    limit: 1,
  })) {
    return { order: key[1], at: decodePlace(value).at };
  }
  return null;
}

const toRange = (kind: FactKind): { start: [number, number]; end: [number, number] } => ({
  start: [kindNumbers[kind], 0],
  end: [kindNumbers[kind], Infinity],
});

/** In the order in which each came last. */
function newestOfEach(facts: readonly Keyed[]): Iterable<Keyed> {
  const newest = new Map<string, Keyed>();
  for (const fact of facts) {
    const name = fact.key.toString();
    newest.delete(name);
    newest.set(name, fact);
  }
  return newest.values();
}

const scattered = (write: Write): Write => ({ ...write, bytes: write.bytes + scatteredBytes });
