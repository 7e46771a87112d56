/** Keeps the newest `max` entries and counts all entries ever added. */
export type Ring<T> = {
  readonly push: (entry: T) => void;
  /** Oldest first. */
  readonly all: () => T[];
  /** Newest first. */
  readonly newest: (limit: number) => T[];
  readonly total: () => number;
};

/** With `max` 0 it keeps nothing and still counts. */
export function createRing<T>(max: number): Ring<T> {
  const entries: T[] = [];
  let total = 0;

  const at = (age: number): T | undefined => entries[(total - 1 - age) % Math.max(1, max)];

  const newest = (limit: number): T[] => {
    const found: T[] = [];
    for (let age = 0; age < Math.min(limit, entries.length); age++) {
      const entry = at(age);
      if (entry !== undefined) found.push(entry);
    }
    return found;
  };

  return {
    push(entry) {
      if (max > 0) entries[total % max] = entry;
      total++;
    },
    all: () => newest(entries.length).reverse(),
    newest,
    total: () => total,
  };
}
