import type { Clock } from '../clock.js';
import { factKinds, type Fact, type FactKind } from '../model/fact.js';

/** The newest facts of each kind, by count and by age. */
export type FactBounds = {
  /** Maximum number of facts of one kind. */
  readonly maxCount: number;
  /** Maximum age of each kind. Infinity: no fact expires. */
  readonly maxAgeMs: Readonly<Record<FactKind, number>>;
};

/**
 * Facts beyond a lowered bound or the maximum age that one write removes, at most, so that no write removes many.
 */
export const extraDrops = 64;

/** Share of the age bound after which a fact that is put again with its value counts as new. */
const renewAfter = 0.1;

/** Returns true if a fact of this age gets a new timestamp when it is put again with the same value. */
export function isWorthRenewing(ageMs: number, maxAgeMs: number): boolean {
  return ageMs >= maxAgeMs * renewAfter;
}

type Kept = {
  readonly value: string;
  /** Monotonic ms. */
  readonly at: number;
};

/** Facts in memory. */
export class Facts {
  readonly #kinds: Readonly<Record<FactKind, FactsOfKind>>;

  constructor(bounds: FactBounds, clock: Pick<Clock, 'monotonic'>) {
    const ofKind = (kind: FactKind): FactsOfKind =>
      new FactsOfKind(bounds.maxCount, bounds.maxAgeMs[kind], clock);
    this.#kinds = mapKinds(ofKind);
  }

  put(facts: readonly Fact[]): void {
    for (const { kind, key, value } of facts) {
      for (const each of factKinds) this.#kinds[each].delete(key);
      this.#kinds[kind].put(key, value);
    }
    if (facts.length > 0) for (const kind of factKinds) this.#kinds[kind].dropExpired();
  }

  /** All facts that are not expired. */
  *values(): Generator<Fact> {
    for (const kind of factKinds) {
      for (const [key, value] of this.#kinds[kind].values()) yield { kind, key, value };
    }
  }

  /** Returns the number of the keys that had a fact. */
  remove(keys: readonly string[]): number {
    return keys.filter((key) =>
      factKinds.reduce((isThere, kind) => this.#kinds[kind].delete(key) || isThere, false),
    ).length;
  }

  /** Number of facts in memory, including expired ones that were not dropped yet. */
  get count(): number {
    return factKinds.reduce((sum, kind) => sum + this.#kinds[kind].count, 0);
  }

  get(key: string): string | null {
    for (const kind of factKinds) {
      const value = this.#kinds[kind].get(key);
      if (value !== null) return value;
    }
    return null;
  }
}

class FactsOfKind {
  readonly #maxCount: number;
  readonly #maxAgeMs: number;
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** In order of age. */
  readonly #kept = new Map<string, Kept>();
  /** An iterator that is kept: a new one would pass over all deleted entries at the front again and again. */
  readonly #oldest = this.#kept.entries();
  /** The last entry of `#oldest`. */
  #next: readonly [string, Kept] | undefined;

  constructor(maxCount: number, maxAgeMs: number, clock: Pick<Clock, 'monotonic'>) {
    this.#maxCount = maxCount;
    this.#maxAgeMs = maxAgeMs;
    this.#clock = clock;
  }

  get count(): number {
    return this.#kept.size;
  }

  put(key: string, value: string): void {
    this.#kept.set(key, { value, at: this.#clock.monotonic() });
    if (this.#kept.size > this.#maxCount) this.#dropOldest();
  }

  get(key: string): string | null {
    const kept = this.#kept.get(key);
    return kept === undefined || this.#isExpired(kept) ? null : kept.value;
  }

  *values(): Generator<readonly [key: string, value: string]> {
    for (const [key, kept] of this.#kept) if (!this.#isExpired(kept)) yield [key, kept.value];
  }

  delete(key: string): boolean {
    return this.#kept.delete(key);
  }

  dropExpired(): void {
    for (let drops = 0; drops < extraDrops; drops++) {
      const oldest = this.#findOldest();
      if (oldest === undefined || !this.#isExpired(oldest[1])) return;
      this.#dropOldest();
    }
  }

  #isExpired({ at }: Kept): boolean {
    return this.#clock.monotonic() - at >= this.#maxAgeMs;
  }

  #dropOldest(): void {
    const oldest = this.#findOldest();
    if (oldest !== undefined) this.#kept.delete(oldest[0]);
  }

  #findOldest(): readonly [string, Kept] | undefined {
    // An iterator that has reached the end stays there.
    if (this.#kept.size === 0) return undefined;
    const next = this.#next;
    // An entry that was put again or deleted since is no longer the oldest.
    if (next === undefined || this.#kept.get(next[0]) !== next[1]) {
      this.#next = this.#oldest.next().value;
    }
    return this.#next;
  }
}

export const mapKinds = <T>(toValue: (kind: FactKind) => T): Readonly<Record<FactKind, T>> =>
  Object.fromEntries(factKinds.map((kind) => [kind, toValue(kind)])) as Record<FactKind, T>;
