import type { Memo } from '../../../src/envelope.js';

/** What memos should be, said as plainly as possible; says what is wrong with what a store recalls. */
export class NaiveMemos {
  readonly #maxCount: number;
  /** By when they were remembered last, newest last. */
  #all: readonly Memo[] = [];

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  get keys(): readonly string[] {
    return this.#all.map(({ key }) => key);
  }

  remember(memos: readonly Memo[]): void {
    for (const memo of memos) {
      this.#all = [...this.#all.filter(({ key }) => key !== memo.key), memo];
    }
  }

  /** `values`: one for each of `keys`. */
  faults(values: readonly (string | null)[]): readonly string[] {
    const faults: string[] = [];
    const kept = values.filter((value) => value !== null);
    if (kept.length > this.#maxCount) faults.push('keeps more than the bound');
    this.#all.forEach(({ value }, index) => {
      const newer = this.#all.length - 1 - index;
      const recalled = values[index];
      if (recalled === null && newer < this.#maxCount / 2) faults.push('forgot a new one');
      if (recalled !== null && recalled !== value) faults.push('recalled another value');
    });
    return faults;
  }
}
