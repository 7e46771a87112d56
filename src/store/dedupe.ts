import type { Clock } from '../clock.js';

export type DedupeBounds = { readonly maxAgeMs: number; readonly maxCount: number };

/** `at` is monotonic ms. `note` is the store's own, such as where it wrote the key down. */
type Known = { readonly id: string; readonly at: number; readonly note: number };

/** The keys of events accepted lately, so that a repeat is known. Bounded by age and count, oldest first out. */
export class DedupeWindow {
  readonly #bounds: DedupeBounds;
  readonly #clock: Clock;
  /** Insertion order is age order: a key is only ever inserted, or deleted. */
  readonly #known = new Map<string, Known>();

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

  /** `ageMs`: how long ago it was accepted, for what is remembered after a restart. */
  remember(keys: readonly string[], id: string, { note = 0, ageMs = 0 } = {}): void {
    const now = this.#clock.monotonic();
    for (const key of keys) {
      this.#known.delete(key);
      this.#known.set(key, { id, at: now - ageMs, note });
    }
    this.#prune(now - this.#bounds.maxAgeMs);
  }

  /** Only what is known by this id: a newer envelope may carry the key since the window forgot the older one. */
  forget(keys: readonly string[], id: string): void {
    for (const key of keys) if (this.#known.get(key)?.id === id) this.#known.delete(key);
  }

  /** The note of the oldest key still known; null where none is. */
  oldestNote(): number | null {
    this.#prune(this.#clock.monotonic() - this.#bounds.maxAgeMs);
    const oldest = this.#known.values().next();
    return oldest.done === true ? null : oldest.value.note;
  }

  #prune(oldest: number): void {
    for (const [key, { at }] of this.#known) {
      if (this.#known.size <= this.#bounds.maxCount && at > oldest) return;
      this.#known.delete(key);
    }
  }
}
