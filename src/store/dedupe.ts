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
/** Marks a place in `#seqs` whose key was removed, or recorded again at another place. */
const left = -1;

/**
 * The dedupe window: the keys of recently accepted events, by which a duplicate is recognised. It is bounded by age
 * and count, and drops the oldest first. It is a ring buffer in typed arrays, ordered by age: 28 bytes for each key,
 * and 24 for all keys that were accepted together.
 */
export class DedupeWindow {
  readonly #bounds: DedupeBounds;
  readonly #clock: Clock;
  /** Fingerprints of the last looked-up keys, which are usually recorded next. */
  #prints: Fingerprint[] = [];
  #printed: readonly string[] | null = null;
  #index = new FingerprintIndex(firstPlaces);
  /** Number of the event, by place. */
  #seqs = new Float64Array(firstPlaces);
  /** Increasing positions, modulo the length of the ring: the oldest entry, and one after the newest. */
  #first = 0;
  #next = 0;
  /** Number of the keys between the two that are still valid. */
  #count = 0;
  /** Times of acceptance (monotonic ms), and the sequences of the store. */
  readonly #runs = new Runs();

  constructor(bounds: DedupeBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  /** Returns the number of the event with one of these keys. */
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
   * `at` is the time of acceptance (monotonic ms); after a restart it may be earlier than that of previous entries.
   * `sequence` is a value of the store.
   */
  add(
    keys: readonly string[],
    seq: number,
    { at = this.#clock.monotonic(), sequence = 0 } = {},
  ): void {
    this.#runs.push(this.#next, at, sequence);
    for (const print of this.#toPrints(keys)) this.#add(print, seq);
    this.#prune();
  }

  /** Removes keys only if they belong to this number: a newer event may have recorded them since. */
  remove(keys: readonly string[], seq: number): void {
    for (const print of this.#toPrints(keys)) {
      const place = this.#index.find(print);
      if (place !== undefined && this.#seqs[place] === seq) this.#leave(place);
    }
  }

  /** The sequence of the oldest valid key; null if there is none. */
  oldestSequence(): number | null {
    this.#prune();
    return this.#count === 0 ? null : this.#runs.sequence(this.#first);
  }

  /** Computes fingerprints; the result is valid until the next call. */
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

  /** Removes the oldest entries down to the bounds, and invalid entries at the front. */
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
