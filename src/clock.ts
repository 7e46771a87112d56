/** A started timer; `cancel` is safe to call twice and after it fired. */
export type Timer = { cancel(): void };

/**
 * The one place that reads time. `now` is wall time (epoch ms) and may jump; `monotonic` (ms from
 * an arbitrary start) never goes back, so every wait, age and rate is measured with it.
 */
export type Clock = {
  now(): number;
  monotonic(): number;
  setTimer(delayMs: number, fire: () => void): Timer;
};

/** setTimeout fires at once above 2^31-1 ms, so longer waits are cut and the waiter looks again. */
const longestTimerMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, Math.min(Math.max(0, delayMs), longestTimerMs));
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after `delayMs`, or at once when `signal` aborts; never rejects. */
export function wait(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const finish = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.setTimer(delayMs, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}
