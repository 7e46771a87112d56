/** One at a time, in the order in which they came. */
export class Mutex {
  #last: Promise<void> = Promise.resolve();

  /**
   * Resolves when it is one's turn, or when `signal` aborts: then it need not be. Either way, what it
   * resolves with is called once, when the next may go on.
   */
  async enter(signal: AbortSignal): Promise<() => void> {
    const before = this.#last;
    let leave: () => void = () => undefined;
    const left = new Promise<void>((resolve) => (leave = resolve));
    // Who gave up must not let the next one in before those ahead of it.
    this.#last = before.then(() => left);
    await untilAborted(before, signal);
    return leave;
  }
}

async function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  let stop: () => void = () => undefined;
  const aborted = new Promise<void>((resolve) => (stop = resolve));
  signal.addEventListener('abort', stop, { once: true });
  await Promise.race([work, aborted]);
  signal.removeEventListener('abort', stop);
}
