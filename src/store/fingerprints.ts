/** A fingerprint is 96 bits of a key's hash: with a million stored keys, a new one collides once in 10^22 times. */
export type Fingerprint = Uint32Array;

const wordCount = 3;

export const emptyFingerprint = (): Fingerprint => new Uint32Array(wordCount);

/** Fills `target` and returns it: callers reuse one, because this runs for every key of every event. */
export function toFingerprint(key: string, target: Fingerprint): Fingerprint {
  let [a, b, c] = [0x243f6a88, 0x85a308d3, 0x13198a2e];
  for (let index = 0; index < key.length; index++) {
    const code = key.charCodeAt(index);
    a = Math.imul(a ^ code, 0x9e3779b1) ^ (b >>> 13);
    b = Math.imul(b ^ code, 0x85ebca77) ^ (c >>> 11);
    c = Math.imul(c ^ code, 0xc2b2ae3d) ^ (a >>> 17);
  }
  target[0] = a ^ (c >>> 16);
  target[1] = b ^ (a >>> 16);
  target[2] = c ^ (b >>> 16);
  return target;
}

/**
 * Maps fingerprints to places: a hash table in two typed arrays with open addressing and linear probing. A Map of
 * strings needs several times the memory, and finding its oldest entry gets slower with each deleted one before it.
 */
export class FingerprintIndex {
  /** Place + 1 by slot; 0 is empty. At most half full. */
  #slots: Int32Array;
  /** The fingerprints by place. */
  #words: Uint32Array;

  constructor(places: number) {
    this.#slots = new Int32Array(places * 2);
    this.#words = new Uint32Array(places * wordCount);
  }

  find(fingerprint: Fingerprint): number | undefined {
    const place = this.#slots[this.#slotOf(fingerprint)];
    return place === undefined || place === 0 ? undefined : place - 1;
  }

  /** Adds a fingerprint. Neither the fingerprint nor the place may be in use. */
  set(fingerprint: Fingerprint, place: number): void {
    this.#words.set(fingerprint, place * wordCount);
    this.#enter(place);
  }

  /** Adds the fingerprint that another index has at `from`. */
  copy(other: FingerprintIndex, from: number, place: number): void {
    for (let word = 0; word < wordCount; word++) {
      this.#words[place * wordCount + word] = other.#words[from * wordCount + word] ?? 0;
    }
    this.#enter(place);
  }

  /** Removes an entry and closes the gap, so that entries that probed past it are still found. */
  delete(place: number): void {
    const mask = this.#slots.length - 1;
    let gap = this.#slotOfPlace(place);
    for (let slot = (gap + 1) & mask; ; slot = (slot + 1) & mask) {
      const moved = this.#slots[slot] ?? 0;
      if (moved === 0) break;
      const home = this.#homeOfPlace(moved - 1);
      const isBetween = ((slot - home) & mask) < ((slot - gap) & mask);
      if (isBetween) continue;
      this.#slots[gap] = moved;
      gap = slot;
    }
    this.#slots[gap] = 0;
  }

  #enter(place: number): void {
    this.#slots[this.#slotOfPlace(place)] = place + 1;
  }

  #homeOf(firstWord: number): number {
    return firstWord & (this.#slots.length - 1);
  }

  #homeOfPlace(place: number): number {
    return this.#homeOf(this.#words[place * wordCount] ?? 0);
  }

  /** Returns the slot of the fingerprint, or the empty slot where it belongs. */
  #slotOf(fingerprint: Fingerprint): number {
    const mask = this.#slots.length - 1;
    for (let slot = this.#homeOf(fingerprint[0] ?? 0); ; slot = (slot + 1) & mask) {
      const place = this.#slots[slot] ?? 0;
      if (place === 0 || this.#isAt(place - 1, fingerprint)) return slot;
    }
  }

  /** Returns the slot of a fingerprint that is already stored at its place. */
  #slotOfPlace(place: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = this.#homeOfPlace(place); ; slot = (slot + 1) & mask) {
      const found = this.#slots[slot] ?? 0;
      if (found === 0 || found === place + 1) return slot;
    }
  }

  #isAt(place: number, fingerprint: Fingerprint): boolean {
    const start = place * wordCount;
    return (
      this.#words[start] === fingerprint[0] &&
      this.#words[start + 1] === fingerprint[1] &&
      this.#words[start + 2] === fingerprint[2]
    );
  }
}
