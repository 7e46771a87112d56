import type { Queued } from '../lane-queue.js';

/** What earlier attempts changed on an envelope that is not settled. */
export type RetryState = {
  readonly attempts: number;
  readonly alone: boolean;
  /** Due time in epoch ms: wall time, since it must hold after a restart. */
  readonly dueAt: number;
  /** The delay at the time of writing, ms. It bounds the wait if the wall clock was set back. */
  readonly delayMs: number;
  readonly lastTry: Queued['lastTry'];
  /** The id of its import job. */
  readonly ref: string | null;
};

/** State of one envelope of a block: null before the first attempt, `RetryState` after one, or settled. */
export type EnvelopeState = null | RetryState | 'settled';

/**
 * The stored form of a block's states, run-length encoded as `[count, index]`. Index 0 is null, 1 is settled, and
 * from 2 on it is an index of `trials`. The member names are part of the stored format.
 */
export type StoredStates = {
  readonly runs: readonly (readonly [number, number])[];
  readonly trials: readonly RetryState[];
};

const unattempted = 0;
const settled = 1;
const firstRetry = 2;

/** Encodes the states. A retry state that many envelopes share is stored once. */
export function toStoredStates(states: readonly EnvelopeState[]): StoredStates {
  const runs: [number, number][] = [];
  const trials: RetryState[] = [];
  const indexes = new Map<RetryState, number>();
  for (const state of states) {
    const index = state === null ? unattempted : state === 'settled' ? settled : toIndex(state);
    const last = runs.at(-1);
    if (last?.[1] === index) last[0]++;
    else runs.push([1, index]);
  }
  return { runs, trials };

  function toIndex(retryState: RetryState): number {
    const known = indexes.get(retryState);
    if (known !== undefined) return known;
    const index = firstRetry + trials.length;
    trials.push(retryState);
    indexes.set(retryState, index);
    return index;
  }
}

export function fromStoredStates({ runs, trials }: StoredStates): EnvelopeState[] {
  return runs.flatMap(([count, index]) => {
    const state =
      index === unattempted ? null : index === settled ? 'settled' : trials[index - firstRetry];
    return Array<EnvelopeState>(count).fill(state ?? null);
  });
}

/** Ms until a retry is due. */
export function remainingMs({ dueAt, delayMs }: RetryState, now: number): number {
  return Math.min(delayMs, Math.max(0, dueAt - now));
}
