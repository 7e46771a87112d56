/** Stops one part. `overdue` aborts when no time is left for a graceful stop. */
export type Release = (overdue: AbortSignal) => unknown;

/**
 * A stack of releases: an AsyncDisposableStack for Node.js 20. Each part registers its release as soon
 * as it is started. A failed start and an ordinary stop therefore run the same releases in the same order.
 */
export class Releasers {
  readonly #releases: Release[] = [];

  add(release: Release): void {
    this.#releases.push(release);
  }

  /**
   * Runs every release, the last one first and one at a time. A release that fails does not prevent the
   * others. Rejects with the first error after all have ended.
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
