/**
 * Admits so many looks at import jobs at once. Of the jobs that wait, the one with the fewest looks is
 * next, so that jobs which stay open for long do not hold up those that end soon.
 */
export class PollQueue {
  readonly #waiting: { readonly looks: number; readonly admit: () => void }[] = [];
  #free: number;

  constructor(most: number) {
    this.#free = most;
  }

  /** Resolves when a look may begin. `leave` ends it. */
  enter(looks: number): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    return new Promise((admit) => {
      const behind = this.#waiting.findIndex((other) => other.looks > looks);
      const at = behind === -1 ? this.#waiting.length : behind;
      this.#waiting.splice(at, 0, { looks, admit });
    });
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next.admit();
  }
}
