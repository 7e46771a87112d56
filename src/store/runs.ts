import { growRing, placeOf } from './ring.js';

const firstPlaces = 256;

/**
 * Two facts about each of many numbers that only grow, run-length encoded: neighbours mostly share
 * both. A ring in typed arrays, 24 bytes a run; the oldest leave.
 */
export class Runs {
  /** By place: the first number of a run, and what holds from it on. */
  #from = new Float64Array(firstPlaces);
  #at = new Float64Array(firstPlaces);
  #sequences = new Float64Array(firstPlaces);
  /** Ever-growing; modulo the length of the ring they are places. The oldest run, and one after the newest. */
  #first = 0;
  #next = 0;

  /** What holds from `number` on, which is beyond all numbers before. */
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

  /** Whoever is below `number` is asked for no more. */
  dropBelow(number: number): void {
    while (this.#first + 1 < this.#next && this.#startOf(this.#first + 1) <= number) this.#first++;
  }

  /** Of a number that was not dropped. */
  at(number: number): number {
    return this.#at[this.#placeOf(this.#runOf(number))] ?? NaN;
  }

  sequence(number: number): number {
    return this.#sequences[this.#placeOf(this.#runOf(number))] ?? NaN;
  }

  /** The last run that starts at the number or below. The oldest is asked for most. */
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
