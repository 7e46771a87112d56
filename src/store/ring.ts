/**
 * A ring of twice the places. Places are numbers modulo its length, which is a power of two: what has
 * a number from `first` up to and without `next` is found by it as before.
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
