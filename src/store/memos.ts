import type { Memo } from '../envelope.js';

/** The newest memos, bounded by count, oldest out. */
export class Memos {
  readonly #maxCount: number;
  /** In order of age. */
  readonly #values = new Map<string, string>();
  /** Goes on where it was: from the front it would pass over all that was deleted there, again and again. */
  readonly #oldest = this.#values.keys();

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  remember(memos: readonly Memo[]): void {
    for (const { key, value } of memos) {
      this.#values.delete(key);
      this.#values.set(key, value);
      if (this.#values.size > this.#maxCount) this.#dropOldest();
    }
  }

  recall(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  #dropOldest(): void {
    const { value } = this.#oldest.next();
    if (value !== undefined) this.#values.delete(value);
  }
}
