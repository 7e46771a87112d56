import { distance } from 'fastest-levenshtein';

/**
 * Returns the known name that a misspelt name most likely means. A known name is near if it differs in
 * letter case and separators, in at most `maxEdits` edits (fewer for short names), in the order of its
 * words, or by one additional or missing word. Returns null if no name is near, or if the name is known.
 */
export function findNearName(name: string, known: Iterable<string>, maxEdits = 2): string | null {
  const plain = toPlain(name);
  let nearest: { readonly name: string; readonly edits: number } | null = null;
  for (const candidate of known) {
    if (candidate === name) return null;
    const other = toPlain(candidate);
    const edits = haveSameWords(plain, other) ? 1 : distance(plain, other);
    const shorter = Math.min(plain.length, other.length);
    const isNear = edits <= Math.min(maxEdits, Math.floor(shorter / 2)) || plain === other;
    if (isNear && (nearest === null || edits < nearest.edits)) nearest = { name: candidate, edits };
  }
  return nearest?.name ?? null;
}

const toPlain = (name: string): string =>
  name.toUpperCase().replace(/^-+/, '').replace(/[-.]/g, '_');

/** Returns true if the names share at least two words, in any order, and differ in at most one. */
function haveSameWords(name: string, other: string): boolean {
  const [words, others] = [new Set(name.split('_')), new Set(other.split('_'))];
  const common = [...words].filter((word) => others.has(word)).length;
  return common >= 2 && words.size - common + (others.size - common) <= 1;
}
