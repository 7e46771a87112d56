const firstBytes = 1024 * 1024;
/** What a group takes beyond this is its own, and goes with it. */
const maxBytes = 4 * 1024 * 1024;

/**
 * Memory for what one group writes, used again by the next: V8 lets tens of megabytes of buffers that
 * nobody needs any more gather before it frees them.
 */
export class BufferPool {
  #memory = Buffer.allocUnsafeSlow(firstBytes);
  #taken = 0;

  /** What was taken before is on disk by now, or never will be. */
  beginGroup(): void {
    if (this.#taken > this.#memory.length && this.#memory.length < maxBytes) {
      this.#memory = Buffer.allocUnsafeSlow(maxBytes);
    }
    this.#taken = 0;
  }

  /** Holds anything. Good until the next group begins. */
  readonly take = (bytes: number): Buffer => {
    const from = this.#taken;
    this.#taken += bytes;
    return this.#taken <= this.#memory.length
      ? this.#memory.subarray(from, this.#taken)
      : Buffer.allocUnsafeSlow(bytes);
  };
}
