import type { Clock } from './clock.js';

/**
 * Long work runs in slices, so that no request holds the event loop for long. Between
 * two slices the event loop serves everybody else. All work that is sliced shares one queue: one slice
 * runs in one iteration of the event loop, however many requests are in it.
 */
const waiting: (() => void)[] = [];

/** Resolves in a later iteration of the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(runNext);
  });
}

function runNext(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(runNext);
}

/** A batch of more envelopes takes several ms for each of its steps: claim, request, verdicts, settlement. */
const largeBatch = 1000;

/** Between two steps of a batch: others come first where it is large. */
export function yieldAfterLargeBatch(count: number): Promise<void> {
  return count > largeBatch ? nextTurn() : Promise.resolve();
}

/** Time a slice takes, at most, but for its last step. */
const sliceMs = 8;
/** Steps of a slice, at most: they bound it where the clock stands still. */
const sliceSteps = 250;

/** Says when a piece of work has had its slice. One for each request. */
export class Slices {
  readonly #clock: Pick<Clock, 'monotonic'>;
  #since: number;
  #steps = 0;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
    this.#since = clock.monotonic();
  }

  /** To be called before each step: `if (slices.isOver()) await slices.next();`. */
  isUsedUp(): boolean {
    return ++this.#steps > sliceSteps || this.#clock.monotonic() - this.#since >= sliceMs;
  }

  async startNext(): Promise<void> {
    await nextTurn();
    this.#steps = 1;
    this.#since = this.#clock.monotonic();
  }
}

/** Runs a generator to its end, in slices, and resolves with what it returns. */
export async function runInSlices<T>(
  steps: Generator<undefined, T>,
  clock: Pick<Clock, 'monotonic'>,
): Promise<T> {
  const slices = new Slices(clock);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (slices.isUsedUp()) await slices.startNext();
  }
}

/** Calls `step` with each of `all`, in order, in slices. */
export async function forEachInSlices<T>(
  all: Iterable<T>,
  clock: Pick<Clock, 'monotonic'>,
  step: (each: T) => void,
): Promise<void> {
  const slices = new Slices(clock);
  for (const each of all) {
    if (slices.isUsedUp()) await slices.startNext();
    step(each);
  }
}
