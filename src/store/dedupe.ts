import type { Clock } from '../clock.js';
import { Fifo } from './fifo.js';
import { FingerprintIndex, toFingerprint, type Fingerprint } from './fingerprints.js';

export type DedupeBounds = { readonly maxAgeMs: number; readonly maxCount: number };

const firstPlaces = 1024;
/** In `#at` of a place whose key was forgotten, or remembered anew at another place. */
const left = -Infinity;

/**
 * The keys of events accepted lately, so that a repeat is known. Bounded by age and count, oldest
 * first out. A ring of places in order of age, in typed arrays: about 40 bytes a key.
 */
export class DedupeWindow {
  readonly #bounds: DedupeBounds;
  readonly #clock: Clock;
  /** Of the keys that were looked for last, since they are remembered next. */
  #prints: Fingerprint[] = [];
  #printed: readonly string[] | null = null;
  #index = new FingerprintIndex(firstPlaces);
  /** By place: the number of the event, and when it was accepted (monotonic ms). */
  #seqs = new Float64Array(firstPlaces);
  #at = new Float64Array(firstPlaces);
  /** Ever-growing; modulo the length of the ring they are places. The oldest, and one after the newest. */
  #first = 0;
  #next = 0;
  /** Keys known, of those between the two. */
  #count = 0;
  /** The store's own notes. Neighbours mostly share one: it is kept from the first of them on. */
  readonly #notedFrom = new Fifo<number>();
  readonly #notes = new Fifo<number>();
  #latestNote: number | null = null;

  constructor(bounds: DedupeBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  /** The number of the event that carries one of these keys. */
  find(keys: readonly string[]): number | undefined {
    const oldest = this.#clock.monotonic() - this.#bounds.maxAgeMs;
    for (const print of this.#toPrints(keys)) {
      const place = this.#index.find(print);
      if (place !== undefined && (this.#at[place] ?? left) > oldest) return this.#seqs[place];
    }
    return undefined;
  }

  /** `note` is the store's own; `ageMs`: how long ago it was accepted, for what is remembered after a restart. */
  remember(keys: readonly string[], seq: number, { note = 0, ageMs = 0 } = {}): void {
    const now = this.#clock.monotonic();
    if (note !== this.#latestNote) {
      this.#latestNote = note;
      this.#notedFrom.push(this.#next);
      this.#notes.push(note);
    }
    for (const print of this.#toPrints(keys)) this.#add(print, seq, now - ageMs);
    this.#prune(now - this.#bounds.maxAgeMs);
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
    this.#prune(this.#clock.monotonic() - this.#bounds.maxAgeMs);
    if (this.#count === 0) return null;
    while ((this.#notedFrom.peekNext() ?? Infinity) <= this.#first) {
      this.#notedFrom.shift();
      this.#notes.shift();
    }
    return this.#notes.peek() ?? null;
  }

  /** Good until the next call. */
  #toPrints(keys: readonly string[]): readonly Fingerprint[] {
    if (keys === this.#printed) return this.#prints;
    this.#printed = keys;
    this.#prints.length = Math.min(this.#prints.length, keys.length);
    keys.forEach((key, index) => {
      this.#prints[index] = toFingerprint(key, this.#prints[index] ?? new Uint32Array(4));
    });
    return this.#prints;
  }

  #add(print: Fingerprint, seq: number, at: number): void {
    const before = this.#index.find(print);
    if (before !== undefined) this.#leave(before);
    if (this.#next - this.#first === this.#at.length) this.#grow();
    const place = this.#placeOf(this.#next++);
    this.#index.set(print, place);
    this.#seqs[place] = seq;
    this.#at[place] = at;
    this.#count++;
  }

  #leave(place: number): void {
    this.#index.delete(place);
    this.#at[place] = left;
    this.#count--;
  }

  /** Down to the bounds; what was left behind at the front goes on the way. */
  #prune(oldest: number): void {
    for (; this.#first < this.#next; this.#first++) {
      const place = this.#placeOf(this.#first);
      const at = this.#at[place] ?? left;
      if (at === left) continue;
      if (this.#count <= this.#bounds.maxCount && at > oldest) return;
      this.#leave(place);
    }
  }

  #placeOf(number: number): number {
    return number & (this.#at.length - 1);
  }

  /** Twice the places; every key moves to where the same number now is. */
  #grow(): void {
    const [old, length] = [this.#at.length, this.#at.length * 2];
    const older = { index: this.#index, seqs: this.#seqs, at: this.#at };
    this.#index = new FingerprintIndex(length);
    this.#seqs = new Float64Array(length);
    this.#at = new Float64Array(length);
    for (let number = this.#first; number < this.#next; number++) {
      const from = number & (old - 1);
      const place = this.#placeOf(number);
      const at = older.at[from] ?? left;
      this.#at[place] = at;
      if (at === left) continue;
      this.#seqs[place] = older.seqs[from] ?? 0;
      this.#index.copy(older.index, from, place);
    }
  }
}
