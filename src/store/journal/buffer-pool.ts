const firstBytes = 1024 * 1024;
/** A group that needs more gets buffers of its own for the rest. */
const maxBytes = 4 * 1024 * 1024;

/**
 * Memory for the blocks of one group, reused by the next group. Without it V8 lets tens of megabytes of unused
 * buffers gather before it frees them.
 */
export class BufferPool {
  #memory = Buffer.allocUnsafeSlow(firstBytes);
  #allocatedBytes = 0;

  /** Releases all memory: the writes of the previous group have ended. */
  beginGroup(): void {
    if (this.#allocatedBytes > this.#memory.length && this.#memory.length < maxBytes) {
      this.#memory = Buffer.allocUnsafeSlow(maxBytes);
    }
    this.#allocatedBytes = 0;
  }

  /** Returns uninitialised memory that is valid until the next group begins. */
  readonly allocate = (bytes: number): Buffer => {
    const from = this.#allocatedBytes;
    this.#allocatedBytes += bytes;
    return this.#allocatedBytes <= this.#memory.length
      ? this.#memory.subarray(from, this.#allocatedBytes)
      : Buffer.allocUnsafeSlow(bytes);
  };
}
