import { KeyIndex } from './key-index.js';

type Keyed = { readonly keys: readonly string[]; readonly seq: number };

/**
 * The locked keys of a lane, and the envelopes that wait for them, so that no envelope overtakes an earlier one that
 * shares a key.
 *
 * A key is *locked* from the claim of its envelope until its settlement, delays of retries included. An envelope with a
 * locked key waits, and all of its keys are *waiting* meanwhile: later envelopes with one of them wait, too.
 *
 * Released waiters are examined again in order, so releasing too many costs time and never order. The release is
 * transitive: a released waiter also releases those that wait for its keys. So every remaining waiter waits, perhaps
 * through others, for a locked key, which will be unlocked, or for an earlier envelope of another lane
 * (`PersonOrder`). A waiter only delays later envelopes, so no two waiters wait for each other forever.
 */
export class KeyLocks<T extends Keyed> {
  readonly #locked = new Counts();
  readonly #waitingKeys = new KeyIndex();
  readonly #waiters = new Map<string, T[]>();

  /** Returns the first key that is locked, or that an earlier envelope waits with. */
  findLocked({ keys, seq }: Keyed): string | undefined {
    const hasNoWaiters = this.#waiters.size === 0;
    return keys.find(
      (key) =>
        this.#locked.has(key) ||
        (!hasNoWaiters && (this.#waitingKeys.first(key) ?? Infinity) < seq),
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
    this.#waitingKeys.add(waiter.keys, waiter.seq);
  }

  /** Unlocks keys. Returns the waiters to examine again, in no particular order; their keys are no longer waiting. */
  release(keys: readonly string[]): readonly T[] {
    if (this.#waiters.size === 0) {
      for (const key of keys) this.#locked.remove(key);
      return [];
    }
    return this.#free(keys.filter((key) => this.#locked.remove(key)));
  }

  /** Returns the waiters of a name that is not locked, to be examined again, and those that wait for their keys. */
  wake(name: string): readonly T[] {
    return this.#free([name]);
  }

  /** Removes waiters. Returns the others that waited for their keys, to be examined again. */
  remove(isRemoved: (waiter: T) => boolean): readonly T[] {
    const chain: string[] = [];
    for (const [name, waiters] of [...this.#waiters]) {
      const removed = waiters.filter(isRemoved);
      if (removed.length === 0) continue;
      const kept = waiters.filter((waiter) => !isRemoved(waiter));
      if (kept.length === 0) this.#waiters.delete(name);
      else this.#waiters.set(name, kept);
      for (const { keys, seq } of removed) {
        this.#waitingKeys.remove(keys, seq);
        chain.push(...keys);
      }
    }
    return this.#free(chain);
  }

  #free(chain: string[]): readonly T[] {
    const freed: T[] = [];
    for (let key = chain.pop(); key !== undefined; key = chain.pop()) {
      const waiters = this.#waiters.get(key);
      if (waiters === undefined) continue;
      this.#waiters.delete(key);
      for (const waiter of waiters) {
        this.#waitingKeys.remove(waiter.keys, waiter.seq);
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
