import type { Clock } from '../clock.js';

export type DedupeBounds = { readonly maxAgeMs: number; readonly maxCount: number };

/** The keys of events accepted lately, so that a repeat is known. Bounded by age and count, oldest first out. */
export class DedupeWindow {
  readonly #bounds: DedupeBounds;
  readonly #clock: Clock;
  /** Insertion order is age order: a key is only ever inserted, or deleted. */
  readonly #known = new Map<string, { readonly id: string; readonly at: number }>();

  constructor(bounds: DedupeBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  /** The id of the envelope that carries one of these keys. */
  find(keys: readonly string[]): string | undefined {
    const oldest = this.#clock.monotonic() - this.#bounds.maxAgeMs;
    for (const key of keys) {
      const known = this.#known.get(key);
      if (known !== undefined && known.at > oldest) return known.id;
    }
    return undefined;
  }

  remember(keys: readonly string[], id: string): void {
    const at = this.#clock.monotonic();
    for (const key of keys) {
      this.#known.delete(key);
      this.#known.set(key, { id, at });
    }
    this.#prune(at - this.#bounds.maxAgeMs);
  }

  /** Only what is known by this id: a newer envelope may carry the key since the window forgot the older one. */
  forget(keys: readonly string[], id: string): void {
    for (const key of keys) if (this.#known.get(key)?.id === id) this.#known.delete(key);
  }

  #prune(oldest: number): void {
    for (const [key, { at }] of this.#known) {
      if (this.#known.size <= this.#bounds.maxCount && at > oldest) return;
      this.#known.delete(key);
    }
  }
}
