import type { Clock } from '../clock.js';

/** Lets waiters wake before their time when something changed. */
export class Signal {
  readonly #sleepers = new Set<() => void>();

  notify(): void {
    for (const wake of [...this.#sleepers]) wake();
  }

  /** Resolves after `forMs` (null: no time limit), at the next ring, or when `signal` aborts. */
  wait(clock: Clock, forMs: number | null, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const finish = (): void => {
        timer?.cancel();
        this.#sleepers.delete(finish);
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const timer = forMs === null ? null : clock.setTimer(forMs, finish);
      this.#sleepers.add(finish);
      signal.addEventListener('abort', finish, { once: true });
    });
  }
}
