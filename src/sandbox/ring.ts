/** Keeps the newest `max` entries and counts all entries ever added. */
export type Ring<T> = {
  readonly push: (entry: T) => void;
  /** Oldest first. */
  readonly all: () => T[];
  /** Newest first. */
  readonly newest: (limit: number) => T[];
  /** Removes the entries for which `matches` returns true. `total` still counts them. */
  readonly remove: (matches: (entry: T) => boolean) => void;
  readonly total: () => number;
};

/** With `max` 0 it keeps nothing and still counts. */
export function createRing<T>(max: number): Ring<T> {
  let entries: T[] = [];
  /** The position of the next entry. */
  let next = 0;
  let total = 0;

  const at = (age: number): T | undefined => entries[(next - 1 - age + max) % max];

  const newest = (limit: number): T[] => {
    const found: T[] = [];
    for (let age = 0; age < Math.min(limit, entries.length); age++) {
      const entry = at(age);
      if (entry !== undefined) found.push(entry);
    }
    return found;
  };
  const all = (): T[] => newest(entries.length).reverse();

  return {
    push(entry) {
      total++;
      if (max === 0) return;
      entries[next] = entry;
      next = (next + 1) % max;
    },
    all,
    newest,
    remove(matches) {
      entries = all().filter((entry) => !matches(entry));
      next = max === 0 ? 0 : entries.length % max;
    },
    total: () => total,
  };
}
