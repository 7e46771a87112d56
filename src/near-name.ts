import { distance } from 'fastest-levenshtein';

/**
 * The known name that a misspelt one most likely means: one that differs by letter case and
 * separators, by at most `maxEdits` edits (for short names fewer), or by the order of its words or one
 * word too many or too few. Null where none is near, and for a name that is known.
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

/** At least two words in common, in any order, and at most one that the other has not. */
function haveSameWords(name: string, other: string): boolean {
  const [words, others] = [new Set(name.split('_')), new Set(other.split('_'))];
  const common = [...words].filter((word) => others.has(word)).length;
  return common >= 2 && words.size - common + (others.size - common) <= 1;
}
