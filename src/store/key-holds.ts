/**
 * Which keys cannot leave now, and who waits for them.
 *
 * A key is *taken* from the moment its envelope is claimed until it is settled, delays included. An
 * envelope that finds one of its keys taken waits, and *reserves* all of its keys meanwhile: what
 * comes after it must not overtake it.
 *
 * Freed waiters are examined again in order, so freeing too many costs time, never order. Freeing
 * follows the chain (a freed waiter frees those who wait for what it reserved): whoever is left
 * waits, perhaps through others, for a key that is taken, and that one will be released. Hence no
 * two waiters can wait for each other for ever.
 */
export class KeyHolds<T extends { readonly keys: readonly string[] }> {
  readonly #taken = new Map<string, number>();
  readonly #reserved = new Map<string, number>();
  readonly #waiters = new Map<string, T[]>();

  /** The first of the keys that stands in the way. */
  heldKey(keys: readonly string[]): string | undefined {
    return keys.find((key) => this.#taken.has(key) || this.#reserved.has(key));
  }

  take(keys: readonly string[]): void {
    for (const key of keys) add(this.#taken, key, 1);
  }

  /** `waiter` comes back from `release` when it is worth examining again. */
  wait(key: string, waiter: T): void {
    const waiters = this.#waiters.get(key);
    if (waiters === undefined) this.#waiters.set(key, [waiter]);
    else waiters.push(waiter);
    for (const held of waiter.keys) add(this.#reserved, held, 1);
  }

  /** Ends a `take`. Returns the waiters to examine again, in no particular order; they hold nothing any more. */
  release(keys: readonly string[]): readonly T[] {
    const freed: T[] = [];
    const chain: string[] = [];
    for (const key of keys) {
      if (add(this.#taken, key, -1) === 0) chain.push(key);
    }
    for (let key = chain.pop(); key !== undefined; key = chain.pop()) {
      const waiters = this.#waiters.get(key);
      if (waiters === undefined) continue;
      this.#waiters.delete(key);
      for (const waiter of waiters) {
        for (const held of waiter.keys) add(this.#reserved, held, -1);
        freed.push(waiter);
        chain.push(...waiter.keys);
      }
    }
    return freed;
  }
}

function add(counts: Map<string, number>, key: string, change: number): number {
  const count = (counts.get(key) ?? 0) + change;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
  return count;
}
