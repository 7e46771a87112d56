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
export class KeyLocks<T extends { readonly keys: readonly string[] }> {
  readonly #taken = new Counts();
  readonly #reserved = new Counts();
  readonly #waiters = new Map<string, T[]>();

  /** The first of the keys that stands in the way. */
  findLocked(keys: readonly string[]): string | undefined {
    const isNobodyWaiting = this.#waiters.size === 0;
    return keys.find(
      (key) => this.#taken.has(key) || (!isNobodyWaiting && this.#reserved.has(key)),
    );
  }

  lock(keys: readonly string[]): void {
    for (const key of keys) this.#taken.add(key);
  }

  /** `waiter` comes back from `release` when it is worth examining again. */
  wait(key: string, waiter: T): void {
    const waiters = this.#waiters.get(key);
    if (waiters === undefined) this.#waiters.set(key, [waiter]);
    else waiters.push(waiter);
    for (const held of waiter.keys) this.#reserved.add(held);
  }

  /** Ends a `take`. Returns the waiters to examine again, in no particular order; they hold nothing any more. */
  release(keys: readonly string[]): readonly T[] {
    if (this.#waiters.size === 0) {
      for (const key of keys) this.#taken.remove(key);
      return [];
    }
    const freed: T[] = [];
    const chain = keys.filter((key) => this.#taken.remove(key));
    for (let key = chain.pop(); key !== undefined; key = chain.pop()) {
      const waiters = this.#waiters.get(key);
      if (waiters === undefined) continue;
      this.#waiters.delete(key);
      for (const waiter of waiters) {
        for (const held of waiter.keys) this.#reserved.remove(held);
        freed.push(waiter);
        chain.push(...waiter.keys);
      }
    }
    return freed;
  }
}

/** How often each key is in it. Nearly all are in it once, which takes one look into one table. */
class Counts {
  readonly #once = new Set<string>();
  /** Beyond the first time. */
  readonly #more = new Map<string, number>();

  has(key: string): boolean {
    return this.#once.has(key);
  }

  add(key: string): void {
    const before = this.#once.size;
    this.#once.add(key);
    if (this.#once.size === before) this.#more.set(key, (this.#more.get(key) ?? 0) + 1);
  }

  /** True where it is not in it any more. */
  remove(key: string): boolean {
    const more = this.#more.size === 0 ? undefined : this.#more.get(key);
    if (more === undefined) return this.#once.delete(key);
    if (more === 1) this.#more.delete(key);
    else this.#more.set(key, more - 1);
    return false;
  }
}
