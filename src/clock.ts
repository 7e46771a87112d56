import { readFileSync } from 'node:fs';

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
  /** Null where the system names no boot. */
  uptime?(): Uptime | null;
};

/** Ms since the machine booted. Processes of one boot can compare theirs; a jump of the wall clock changes nothing. */
export type Uptime = { readonly boot: string; readonly ms: number };

/** setTimeout fires at once above 2^31-1 ms, so longer waits are cut and the waiter looks again. */
const longestTimerMs = 2 ** 31 - 1;

const boot = readBoot();

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, Math.min(Math.max(0, delayMs), longestTimerMs));
    return { cancel: () => clearTimeout(timer) };
  },
  uptime: () => (boot === null ? null : { boot, ms: Number(process.hrtime.bigint()) / 1e6 }),
};

/** Linux alone names its boots. */
function readBoot(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** A delay is cut into so many, and into more where they would be longer than this. */
const ticks = 10;
const longestTickMs = 1000;

/**
 * Fires once this process has run for `delayMs`. Time in which it was stopped (SIGSTOP, a virtual
 * machine that is suspended) does not count: it shows as one late tick, and a tick counts as its own
 * length.
 */
export function setRunningTimer(clock: Clock, delayMs: number, fire: () => void): Timer {
  let leftMs = delayMs;
  const tick = (): Timer => {
    const tickMs = Math.min(longestTickMs, Math.ceil(delayMs / ticks), leftMs);
    return clock.setTimer(tickMs, () => {
      leftMs -= tickMs;
      if (leftMs > 0) timer = tick();
      else fire();
    });
  };
  let timer = tick();
  return { cancel: () => timer.cancel() };
}

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
