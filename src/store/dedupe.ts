import type { Clock } from '../clock.js';
import {
  emptyFingerprint,
  FingerprintIndex,
  toFingerprint,
  type Fingerprint,
} from './fingerprints.js';
import { growRing, placeOf } from './ring.js';
import { Runs } from './runs.js';

export type DedupeBounds = { readonly maxAgeMs: number; readonly maxCount: number };

const firstPlaces = 1024;
/** In `#seqs` of a place whose key was forgotten, or remembered anew at another place. */
const left = -1;

/**
 * The keys of events accepted lately, so that a repeat is known. Bounded by age and count, oldest
 * first out. A ring of places in order of age, in typed arrays: 28 bytes a key, and 24 for all that
 * came together.
 */
export class DedupeWindow {
  readonly #bounds: DedupeBounds;
  readonly #clock: Clock;
  /** Of the keys that were looked for last, since they are remembered next. */
  #prints: Fingerprint[] = [];
  #printed: readonly string[] | null = null;
  #index = new FingerprintIndex(firstPlaces);
  /** By place: the number of the event. */
  #seqs = new Float64Array(firstPlaces);
  /** Ever-growing; modulo the length of the ring they are places. The oldest, and one after the newest. */
  #first = 0;
  #next = 0;
  /** Keys known, of those between the two. */
  #count = 0;
  /** When they were accepted (monotonic ms), and the store's own notes. */
  readonly #runs = new Runs();

  constructor(bounds: DedupeBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  /** The number of the event that carries one of these keys. */
  find(keys: readonly string[]): number | undefined {
    const oldest = this.#clock.monotonic() - this.#bounds.maxAgeMs;
    for (const print of this.#toPrints(keys)) {
      const place = this.#index.find(print);
      if (place !== undefined && this.#runs.at(this.#numberOf(place)) > oldest) {
        return this.#seqs[place];
      }
    }
    return undefined;
  }

  /**
   * `at`: when it was accepted (monotonic ms); earlier than others before it where a restart plays them
   * back. `note` is the store's own.
   */
  remember(
    keys: readonly string[],
    seq: number,
    { at = this.#clock.monotonic(), note = 0 } = {},
  ): void {
    this.#runs.push(this.#next, at, note);
    for (const print of this.#toPrints(keys)) this.#add(print, seq);
    this.#prune();
  }

  /** Only what is known by this number: a newer event may carry the key since the window forgot the older one. */
  forget(keys: readonly string[], seq: number): void {
    for (const print of this.#toPrints(keys)) {
      const place = this.#index.find(print);
      if (place !== undefined && this.#seqs[place] === seq) this.#leave(place);
    }
  }

  /** The note of the oldest key still known; null where none is. */
  oldestNote(): number | null {
    this.#prune();
    return this.#count === 0 ? null : this.#runs.note(this.#first);
  }

  /** Good until the next call. */
  #toPrints(keys: readonly string[]): readonly Fingerprint[] {
    if (keys === this.#printed) return this.#prints;
    this.#printed = keys;
    this.#prints.length = Math.min(this.#prints.length, keys.length);
    keys.forEach((key, index) => {
      this.#prints[index] = toFingerprint(key, this.#prints[index] ?? emptyFingerprint());
    });
    return this.#prints;
  }

  #add(print: Fingerprint, seq: number): void {
    const before = this.#index.find(print);
    if (before !== undefined) this.#leave(before);
    if (this.#next - this.#first === this.#seqs.length) this.#grow();
    const place = this.#placeOf(this.#next++);
    this.#index.set(print, place);
    this.#seqs[place] = seq;
    this.#count++;
  }

  #leave(place: number): void {
    this.#index.delete(place);
    this.#seqs[place] = left;
    this.#count--;
  }

  /** Down to the bounds; what was left behind at the front goes on the way. */
  #prune(): void {
    const oldest = this.#clock.monotonic() - this.#bounds.maxAgeMs;
    for (; this.#first < this.#next; this.#first++) {
      const place = this.#placeOf(this.#first);
      if (this.#seqs[place] === left) continue;
      if (this.#count <= this.#bounds.maxCount && this.#runs.at(this.#first) > oldest) break;
      this.#leave(place);
    }
    this.#runs.dropBelow(this.#first);
  }

  #placeOf(number: number): number {
    return placeOf(number, this.#seqs);
  }

  #numberOf(place: number): number {
    return this.#first + this.#placeOf(place - this.#first);
  }

  #grow(): void {
    const [index, seqs] = [this.#index, this.#seqs];
    this.#seqs = growRing(seqs, { first: this.#first, next: this.#next });
    this.#index = new FingerprintIndex(this.#seqs.length);
    for (let number = this.#first; number < this.#next; number++) {
      const place = this.#placeOf(number);
      if (this.#seqs[place] !== left) this.#index.copy(index, placeOf(number, seqs), place);
    }
  }
}
