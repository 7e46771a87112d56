import { growRing, placeOf } from './ring.js';

const firstPlaces = 256;

/**
 * A time and a sequence for each of many increasing numbers, run-length encoded, since neighbours mostly share
 * both. A ring buffer in typed arrays with 24 bytes a run; the oldest runs are dropped first.
 */
export class Runs {
  /** By place: the first number of a run, and the values from there on. */
  #from = new Float64Array(firstPlaces);
  #at = new Float64Array(firstPlaces);
  #sequences = new Float64Array(firstPlaces);
  /** Increasing positions, modulo the length of the ring: the oldest run, and one after the newest. */
  #first = 0;
  #next = 0;

  /** Sets the values from `number` on. It must be larger than all numbers before. */
  push(number: number, at: number, sequence: number): void {
    const latest = this.#placeOf(this.#next - 1);
    const isEmpty = this.#first === this.#next;
    if (!isEmpty && this.#at[latest] === at && this.#sequences[latest] === sequence) return;
    if (this.#next - this.#first === this.#from.length) this.#grow();
    const place = this.#placeOf(this.#next++);
    this.#from[place] = number;
    this.#at[place] = at;
    this.#sequences[place] = sequence;
  }

  /** Drops the runs that are only needed for numbers below `number`. */
  dropBelow(number: number): void {
    while (this.#first + 1 < this.#next && this.#startOf(this.#first + 1) <= number) this.#first++;
  }

  /** Returns the time of a number that was not dropped. */
  at(number: number): number {
    return this.#at[this.#placeOf(this.#runOf(number))] ?? NaN;
  }

  sequence(number: number): number {
    return this.#sequences[this.#placeOf(this.#runOf(number))] ?? NaN;
  }

  /** Finds the last run that starts at or below the number. The oldest run is requested most often. */
  #runOf(number: number): number {
    let low = this.#first;
    let high = this.#next;
    if (low + 1 >= high || this.#startOf(low + 1) > number) return low;
    while (low + 1 < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#startOf(middle) <= number) low = middle;
      else high = middle;
    }
    return low;
  }

  #startOf(run: number): number {
    return this.#from[this.#placeOf(run)] ?? Infinity;
  }

  #placeOf(run: number): number {
    return placeOf(run, this.#from);
  }

  #grow(): void {
    const kept = { first: this.#first, next: this.#next };
    this.#from = growRing(this.#from, kept);
    this.#at = growRing(this.#at, kept);
    this.#sequences = growRing(this.#sequences, kept);
  }
}
