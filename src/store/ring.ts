/**
 * Returns a ring of twice the length. An entry's place is its number modulo the length, which is a power of two;
 * the entries from `first` to before `next` keep their numbers.
 */
export function growRing(
  ring: Float64Array,
  { first, next }: { readonly first: number; readonly next: number },
): Float64Array<ArrayBuffer> {
  const grown = new Float64Array(ring.length * 2);
  for (let number = first; number < next; number++) {
    grown[placeOf(number, grown)] = ring[placeOf(number, ring)] ?? NaN;
  }
  return grown;
}

export function placeOf(number: number, ring: Float64Array): number {
  return number & (ring.length - 1);
}
