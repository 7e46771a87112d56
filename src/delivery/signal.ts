import type { Clock } from '../clock.js';

/** Wakes everything that waits for it before the time is over. */
export class Signal {
  readonly #waiters = new Set<() => void>();

  notify(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves after `forMs` (null: no time limit), at the next `notify`, or when `signal` aborts. */
  wait(clock: Clock, forMs: number | null, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const finish = (): void => {
        timer?.cancel();
        this.#waiters.delete(finish);
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const timer = forMs === null ? null : clock.setTimer(forMs, finish);
      this.#waiters.add(finish);
      signal.addEventListener('abort', finish, { once: true });
    });
  }
}
