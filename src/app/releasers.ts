/** Stops one part. `overdue` is aborted once there is no time left to do it gracefully. */
export type Release = (overdue: AbortSignal) => unknown;

/**
 * How to stop what was started, in the order of the starts: an AsyncDisposableStack for Node.js 20.
 * A part registers its release as soon as it is started, so a failed start and an ordinary stop
 * run the same releases in the same order.
 */
export class Releasers {
  readonly #releases: Release[] = [];

  add(release: Release): void {
    this.#releases.push(release);
  }

  /**
   * Runs every release, the last one first, each after the one before has ended. One that fails
   * does not keep the others from running. Rejects with the first error once all have ended.
   */
  async release(overdue: AbortSignal): Promise<void> {
    const errors: unknown[] = [];
    for (let next = this.#releases.pop(); next !== undefined; next = this.#releases.pop()) {
      try {
        await next(overdue);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}
