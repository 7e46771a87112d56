import type { Queued } from '../lane-queue.js';

/** What attempts left behind on an envelope that is not settled yet. */
export type RetryState = {
  readonly attempts: number;
  readonly alone: boolean;
  /** When it may be claimed again: wall clock, epoch ms, since it has to mean something after a restart. */
  readonly dueAt: number;
  /** How long it was to wait; a wall clock that was set back never makes it wait longer than that. */
  readonly delayMs: number;
  readonly lastTry: Queued['lastTry'];
  /** The import job that has it. */
  readonly ref: string | null;
};

/** What became of one envelope of a block: nothing yet, something, or it is settled. */
export type EnvelopeState = null | RetryState | 'gone';

/** Run-length encoded: `[count, index]`; 0 is nothing, 1 is gone, from 2 on `trials`. */
export type StoredStates = {
  readonly runs: readonly (readonly [number, number])[];
  readonly trials: readonly RetryState[];
};

const untouched = 0;
const gone = 1;
const firstTrial = 2;

/** What one delivery did alike to many is one object, and is written once. */
export function toStoredStates(marks: readonly EnvelopeState[]): StoredStates {
  const runs: [number, number][] = [];
  const trials: RetryState[] = [];
  const indexes = new Map<RetryState, number>();
  for (const mark of marks) {
    const index = mark === null ? untouched : mark === 'gone' ? gone : toIndex(mark);
    const last = runs.at(-1);
    if (last?.[1] === index) last[0]++;
    else runs.push([1, index]);
  }
  return { runs, trials };

  function toIndex(trial: RetryState): number {
    const known = indexes.get(trial);
    if (known !== undefined) return known;
    const index = firstTrial + trials.length;
    trials.push(trial);
    indexes.set(trial, index);
    return index;
  }
}

export function fromStoredStates({ runs, trials }: StoredStates): EnvelopeState[] {
  return runs.flatMap(([count, index]) => {
    const mark = index === untouched ? null : index === gone ? 'gone' : trials[index - firstTrial];
    return Array<EnvelopeState>(count).fill(mark ?? null);
  });
}

/** Ms a retry still has to wait. */
export function remainingMs({ dueAt, delayMs }: RetryState, now: number): number {
  return Math.min(delayMs, Math.max(0, dueAt - now));
}
