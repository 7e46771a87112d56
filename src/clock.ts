import { readFileSync } from 'node:fs';

/** A started timer. `cancel` can be called again, and after the timer fired. */
export type Timer = { cancel(): void };

/**
 * The only source of time. `now` is wall time in epoch ms, and can jump. `monotonic` is ms from an
 * arbitrary start and never goes back: every wait, age and rate is measured with it.
 */
export type Clock = {
  now(): number;
  monotonic(): number;
  setTimer(delayMs: number, fire: () => void): Timer;
  /** Time since the machine booted; null if the system does not identify its boot. */
  uptime?(): Uptime | null;
};

/** Ms since the machine booted. Two processes of the same boot can compare theirs; jumps of the wall clock have no effect. */
export type Uptime = { readonly boot: string; readonly ms: number };

/** setTimeout fires at once above 2^31-1 ms. A longer delay is cut to this, so a waiter checks again when it fires. */
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

/** Only Linux has an id for each boot. */
function readBoot(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** A delay is divided into this many ticks, or into more if a tick would be longer than `longestTickMs`. */
const ticks = 10;
const longestTickMs = 1000;

/**
 * Fires after this process has run for `delayMs`. Time during which the process was stopped (SIGSTOP, a
 * suspended virtual machine) does not count: it makes one tick late, and a tick counts only its own
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

/** Resolves after `delayMs` or when `signal` aborts, whichever is first. Never rejects. */
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
