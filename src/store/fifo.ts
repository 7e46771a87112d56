/** First in, first out, in amortised constant time: an array with a moving head. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  /** Removes the items that match, and returns them. Takes time proportional to the length. */
  remove(isRemoved: (item: T) => boolean): readonly T[] {
    const removed: T[] = [];
    const kept: T[] = [];
    for (const item of this.#items.slice(this.#head) as T[]) {
      (isRemoved(item) ? removed : kept).push(item);
    }
    if (removed.length > 0) [this.#items, this.#head] = [kept, 0];
    return removed;
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
