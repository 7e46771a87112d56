import { z } from 'zod';
import type { Clock } from '../../clock.js';
import { factKinds, type Fact, type FactKind } from '../../model/fact.js';
import { extraDrops, isWorthRenewing, mapKinds, type FactBounds } from '../facts.js';
import { RetentionTime } from '../retention-time.js';
import {
  decodeFact,
  decodeLegacyFact,
  decodePlace,
  encodeFact,
  encodePlace,
  kindNumbers,
  toFactTableKey,
  type KeyedFact,
  type FactPlace,
  type StoredFact,
} from './fact.js';
import type { Staged } from './group-commit.js';
import type { Tables } from './tables.js';
import { readInPages } from './read-pages.js';
import { put, remove, type Write } from './write.js';

/** Keys are scattered over a table, so that a write may copy two LMDB pages: a leaf and the branch above it. */
const pageCopyBytes = 2 * 4096;

const statsSchema = z.object({ entryCount: z.int() });

/** State in memory of the facts of one kind. */
type KindState = {
  next: number;
  count: number;
  readonly time: RetentionTime;
};

type PlacedFact = FactPlace & { readonly kind: FactKind; readonly order: number };
type Fresh = PlacedFact & StoredFact;
type PlacedLegacyFact = { readonly key: Buffer; readonly order: number };

/** Orders of facts, by kind. */
type Orders = Readonly<Record<FactKind, ReadonlySet<number>>>;

/**
 * Facts on disk, by key and, within each kind, by age. Bounded by count and by age; the oldest is dropped first.
 * Memory has only the number of facts of each kind.
 *
 * A fact that is put again with the same value is renewed only after half as many newer ones as the bound, or after
 * a tenth of its maximum age. The same facts come with nearly every request of a person, and three page writes for
 * each would be most of the cost of a request.
 *
 * Legacy facts, which an earlier version wrote, have no kind and no time. They stay in tables of their own without a
 * migration, so an earlier version can still read them. Putting a fact removes the legacy fact with its key; so a legacy
 * fact that exists beside a fact is the newer one. Legacy facts are removed, oldest first, as facts about people
 * replace them.
 */
export class JournalFacts {
  readonly #tables: Tables;
  readonly #bounds: FactBounds;
  readonly #kinds: Readonly<Record<FactKind, KindState>>;
  #legacyCount: number;
  /**
   * Index of the kind whose expired facts the next write deletes, so that kinds without new facts are cleaned as
   * well.
   */
  #kindIndex = 0;

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
    this.#legacyCount = countEntries(tables.legacyFactOrders);
  }

  /** Throws RangeError and DamagedError. */
  get(key: string): string | null {
    const bytes = toFactTableKey(key);
    if (this.#bounds.maxCount === 0) return null;
    const legacy = this.#findLegacy(bytes);
    if (legacy !== null) return legacy.value;
    const fact = this.#find(bytes);
    return fact === null || this.#isExpired(fact) ? null : fact.value;
  }

  /** Yields the facts that are not expired, legacy ones included. Throws DamagedError. */
  *values(): Generator<Fact> {
    for (const { key, value } of readInPages(this.#tables.facts)) {
      const fact = decodeFact(key, value, 'a fact');
      const { kind, value: text } = fact;
      if (!this.#isExpired(fact)) yield { kind, key: key.toString(), value: text };
    }
    for (const { key, value } of readInPages(this.#tables.legacyFacts)) {
      const legacy = decodeLegacyFact(key, value, 'a fact');
      yield { kind: 'other', key: key.toString(), value: legacy.value };
    }
  }

  /** `forgotten`: keys of facts to remove, unless `facts` has them. Throws DamagedError. */
  stage(facts: readonly KeyedFact[], forgotten: readonly Buffer[] = []): Staged<void> {
    const plan = this.#planPuts(facts);
    const removed = this.#planRemovals(facts, forgotten);
    const { fresh } = plan;
    const replaced = mapKinds(
      (kind) => new Set([...plan.replaced[kind], ...removed.replaced[kind]]),
    );
    const legacyFacts = [...plan.legacyFacts, ...removed.legacyFacts];
    const dropped = this.#kindsToDrop(facts).flatMap((kind) =>
      this.#findOldest(
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
    const removedLegacy = [
      ...legacyFacts,
      ...this.#findOldestLegacy(facts.length, legacyFacts, counts),
    ];
    return {
      writes: [
        ...this.#puts(fresh),
        ...factKinds.flatMap((kind) =>
          [...replaced[kind]].map((order) => this.#removePlace({ kind, order })),
        ),
        ...removed.keys.map((key) => withPageCopies(remove(this.#tables.facts, key))),
        ...dropped.map((one) => this.#removePlace(one)),
        ...dropped.map(({ key }) => withPageCopies(remove(this.#tables.facts, key))),
        ...removedLegacy.flatMap(({ key, order }) => [
          withPageCopies(remove(this.#tables.legacyFactOrders, order)),
          withPageCopies(remove(this.#tables.legacyFacts, key)),
        ]),
      ],
      committed: () => {
        for (const kind of factKinds) this.#kinds[kind].count = counts[kind];
        for (const { kind, order } of fresh) this.#kinds[kind].next = order + 1;
        this.#legacyCount -= removedLegacy.length;
      },
    };
  }

  /** Returns the facts to write, and those that they replace. */
  #planPuts(facts: readonly KeyedFact[]): {
    readonly fresh: readonly Fresh[];
    readonly replaced: Orders;
    readonly legacyFacts: readonly PlacedLegacyFact[];
  } {
    const fresh: Fresh[] = [];
    const replaced = mapKinds(() => new Set<number>());
    const legacyFacts: PlacedLegacyFact[] = [];
    const next = mapKinds((kind) => this.#kinds[kind].next);
    const orders: Record<FactKind, number> = { ...next };
    for (const { kind, key, value } of this.#bounds.maxCount === 0 ? [] : newestOfEach(facts)) {
      const legacy = this.#findLegacy(key);
      const known = this.#find(key);
      if (legacy === null && known?.kind === kind && known.value === value)
        if (this.#isYoung(known, orders[kind])) continue;
      if (legacy !== null) legacyFacts.push({ key, order: legacy.order });
      if (known !== null) replaced[known.kind].add(known.order);
      const at = Math.floor(this.#kinds[kind].time.now());
      fresh.push({ kind, key, value, order: orders[kind]++, at });
    }
    return { fresh, replaced, legacyFacts };
  }

  #planRemovals(
    facts: readonly KeyedFact[],
    forgotten: readonly Buffer[],
  ): {
    readonly keys: readonly Buffer[];
    readonly replaced: Orders;
    readonly legacyFacts: readonly PlacedLegacyFact[];
  } {
    const replaced = mapKinds(() => new Set<number>());
    const legacyFacts: PlacedLegacyFact[] = [];
    const keys: Buffer[] = [];
    const put = new Set(facts.map(({ key }) => key.toString()));
    for (const key of forgotten) {
      if (put.has(key.toString())) continue;
      put.add(key.toString());
      const legacy = this.#findLegacy(key);
      if (legacy !== null) legacyFacts.push({ key, order: legacy.order });
      const known = this.#find(key);
      if (known === null) continue;
      replaced[known.kind].add(known.order);
      keys.push(key);
    }
    return { keys, replaced, legacyFacts };
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

  #findLegacy(key: Buffer): { readonly order: number; readonly value: string } | null {
    const bytes = this.#legacyCount === 0 ? undefined : this.#tables.legacyFacts.get(key);
    return bytes === undefined ? null : decodeLegacyFact(key, bytes, 'a fact');
  }

  #kindsToDrop(facts: readonly KeyedFact[]): readonly FactKind[] {
    if (facts.length === 0) return [];
    const turn = factKinds[this.#kindIndex++ % factKinds.length] ?? 'other';
    return [...new Set([...facts.map(({ kind }) => kind), turn])];
  }

  /** Returns the oldest facts beyond the bounds, counted after the group's own facts, which come last. */
  #findOldest(
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

  /** Returns the oldest legacy facts beyond the bound, which counts them together with the facts about people. */
  #findOldestLegacy(
    puts: number,
    replaced: readonly PlacedLegacyFact[],
    counts: Readonly<Record<FactKind, number>>,
  ): readonly PlacedLegacyFact[] {
    const left = this.#legacyCount - replaced.length;
    if (left === 0) return [];
    const people = factKinds.reduce(
      (sum, kind) => sum + (kind === 'delivery' ? 0 : counts[kind]),
      0,
    );
    const excess = Math.min(left + people - this.#bounds.maxCount, puts + extraDrops);
    const leaving = new Set(replaced.map(({ order }) => order));
    const oldest: PlacedLegacyFact[] = [];
    if (excess <= 0) return [];
    for (const { key: order, value: key } of this.#tables.legacyFactOrders.getRange()) {
      if (!leaving.has(order)) oldest.push({ key, order });
      if (oldest.length >= excess) break;
    }
    return oldest;
  }

  #puts(fresh: readonly Fresh[]): readonly Write[] {
    const { facts, factOrders } = this.#tables;
    return fresh.flatMap((one) => [
      withPageCopies(put(facts, one.key, encodeFact(one.key, one))),
      put(factOrders, [kindNumbers[one.kind], one.order], encodePlace(one)),
    ]);
  }

  #removePlace({ kind, order }: Pick<PlacedFact, 'kind' | 'order'>): Write {
    return withPageCopies(remove(this.#tables.factOrders, [kindNumbers[kind], order]));
  }
}

export const countFactBytes = (facts: readonly KeyedFact[]): number =>
  facts.reduce((sum, { key, value }) => sum + key.length + Buffer.byteLength(value), 0);

/**
 * Returns the most bytes that a group writes for these facts: each is written, replaces another and may remove a
 * legacy fact.
 */
export const countFactWriteBytes = (facts: readonly KeyedFact[]): number =>
  countFactBytes(facts) + facts.length * 3 * pageCopyBytes;

/** Returns the most bytes that a group writes to remove facts. */
export const countFactRemovalBytes = (keys: readonly Buffer[]): number =>
  keys.length * 3 * pageCopyBytes;

/** Counts all facts, including legacy ones. */
export function countFacts({ factOrders, legacyFactOrders }: Tables): number {
  return countEntries(factOrders) + countEntries(legacyFactOrders);
}

function countEntries(table: Tables['factOrders'] | Tables['legacyFactOrders']): number {
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

/** Keeps the last fact of each key, in the order of these. */
function newestOfEach(facts: readonly KeyedFact[]): Iterable<KeyedFact> {
  const newest = new Map<string, KeyedFact>();
  for (const fact of facts) {
    const name = fact.key.toString();
    newest.delete(name);
    newest.set(name, fact);
  }
  return newest.values();
}

const withPageCopies = (write: Write): Write => ({ ...write, bytes: write.bytes + pageCopyBytes });
