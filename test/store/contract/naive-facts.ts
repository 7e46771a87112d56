import type { Fact } from '../../../src/model/fact.js';

/** What facts of one kind should be, said as plainly as possible; says what is wrong with what a store finds. */
export class NaiveFacts {
  readonly #maxCount: number;
  /** By when they were put last, newest last. */
  #all: readonly Fact[] = [];

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  get keys(): readonly string[] {
    return this.#all.map(({ key }) => key);
  }

  put(facts: readonly Fact[]): void {
    for (const fact of facts) {
      this.#all = [...this.#all.filter(({ key }) => key !== fact.key), fact];
    }
  }

  /** `values`: one for each of `keys`. */
  faults(values: readonly (string | null)[]): readonly string[] {
    const faults: string[] = [];
    const kept = values.filter((value) => value !== null);
    if (kept.length > this.#maxCount) faults.push('keeps more than the bound');
    this.#all.forEach(({ value }, index) => {
      const newer = this.#all.length - 1 - index;
      const found = values[index];
      if (found === null && newer < this.#maxCount / 2) faults.push('forgot a new one');
      if (found !== null && found !== value) faults.push('found another value');
    });
    return faults;
  }
}
