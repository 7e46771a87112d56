import { wait, type Clock } from '../clock.js';
import type { Releasers } from './releasers.js';

/** Releases every part, the last started first. After `limitMs` the parts that still run are cut off. */
export async function stopWithin(limitMs: number, started: Releasers, clock: Clock): Promise<void> {
  const overdue = new AbortController();
  const deadline = clock.setTimer(limitMs, () => overdue.abort());
  try {
    await started.release(overdue.signal);
  } finally {
    deadline.cancel();
    // Ends what still waits for the deadline, so that the process can exit.
    overdue.abort();
  }
}

/** Resolves when the work has ended or `overdue` aborts, whichever is first. */
export function until(
  overdue: AbortSignal,
  work: Promise<unknown>,
  clock: Clock,
): Promise<unknown> {
  return Promise.race([work, wait(clock, Infinity, overdue)]);
}

const drainCheckMs = 20;

/** Resolves when nothing is unsettled any more: no envelope in the buffer, no delayed retry, no open import job. */
export async function untilDrained(
  countUnsettled: () => number,
  clock: Clock,
  overdue: AbortSignal,
): Promise<void> {
  while (!overdue.aborted && countUnsettled() > 0) await wait(clock, drainCheckMs, overdue);
}
