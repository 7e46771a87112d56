/**
 * The locked keys of a lane, and the envelopes that wait for them, so that no envelope overtakes an earlier one that
 * shares a key.
 *
 * A key is *locked* from the claim of its envelope until its settlement, delays of retries included. An envelope with a
 * locked key waits, and all of its keys are *waiting* meanwhile: later envelopes with one of them wait, too.
 *
 * Released waiters are examined again in order, so releasing too many costs time and never order. The release is
 * transitive: a released waiter also releases those that wait for its keys. So every remaining waiter waits, perhaps
 * through others, for a locked key, which will be unlocked, and no two waiters wait for each other forever.
 */
export class KeyLocks<T extends { readonly keys: readonly string[] }> {
  readonly #locked = new Counts();
  readonly #waitingKeys = new Counts();
  readonly #waiters = new Map<string, T[]>();

  /** Returns the first key that is locked or waiting. */
  findLocked(keys: readonly string[]): string | undefined {
    const hasNoWaiters = this.#waiters.size === 0;
    return keys.find(
      (key) => this.#locked.has(key) || (!hasNoWaiters && this.#waitingKeys.has(key)),
    );
  }

  lock(keys: readonly string[]): void {
    for (const key of keys) this.#locked.add(key);
  }

  /** Lets an envelope wait for a key. `release` returns it when it should be examined again. */
  wait(key: string, waiter: T): void {
    const waiters = this.#waiters.get(key);
    if (waiters === undefined) this.#waiters.set(key, [waiter]);
    else waiters.push(waiter);
    for (const waiterKey of waiter.keys) this.#waitingKeys.add(waiterKey);
  }

  /** Unlocks keys. Returns the waiters to examine again, in no particular order; their keys are no longer waiting. */
  release(keys: readonly string[]): readonly T[] {
    if (this.#waiters.size === 0) {
      for (const key of keys) this.#locked.remove(key);
      return [];
    }
    const freed: T[] = [];
    const chain = keys.filter((key) => this.#locked.remove(key));
    for (let key = chain.pop(); key !== undefined; key = chain.pop()) {
      const waiters = this.#waiters.get(key);
      if (waiters === undefined) continue;
      this.#waiters.delete(key);
      for (const waiter of waiters) {
        for (const waiterKey of waiter.keys) this.#waitingKeys.remove(waiterKey);
        freed.push(waiter);
        chain.push(...waiter.keys);
      }
    }
    return freed;
  }
}

/** Counts keys. Nearly all keys are counted once, which needs one look-up in one table. */
class Counts {
  readonly #once = new Set<string>();
  /** Counts above one. */
  readonly #more = new Map<string, number>();

  has(key: string): boolean {
    return this.#once.has(key);
  }

  add(key: string): void {
    const before = this.#once.size;
    this.#once.add(key);
    if (this.#once.size === before) this.#more.set(key, (this.#more.get(key) ?? 0) + 1);
  }

  /** Returns true if the count of the key is zero now. */
  remove(key: string): boolean {
    const more = this.#more.size === 0 ? undefined : this.#more.get(key);
    if (more === undefined) return this.#once.delete(key);
    if (more === 1) this.#more.delete(key);
    else this.#more.set(key, more - 1);
    return false;
  }
}
