import type { Clock } from './clock.js';

/**
 * Long work runs in slices, so that no request holds the event loop for long. Between two slices the event
 * loop handles other requests. All sliced work shares one queue: each iteration of the event loop runs one
 * slice, no matter how many requests wait for theirs.
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

/** To be called between two steps of a batch. After a step of a large batch, other work comes first. */
export function yieldAfterLargeBatch(count: number): Promise<void> {
  return count > largeBatch ? nextTurn() : Promise.resolve();
}

/** Time after which a slice ends. The step that exceeds it is completed. */
const sliceMs = 8;
/** Maximum steps of a slice. They bound it if the clock does not advance, as in a test. */
const sliceSteps = 250;

/** Measures the slices of one piece of work, such as a request. */
export class Slices {
  readonly #clock: Pick<Clock, 'monotonic'>;
  #since: number;
  #steps = 0;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
    this.#since = clock.monotonic();
  }

  /** To be called before each step: `if (slices.isUsedUp()) await slices.startNext();`. */
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
