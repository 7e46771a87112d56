/** Lets one caller at a time into a section, in the order of their calls. */
export class Mutex {
  #last: Promise<void> = Promise.resolve();

  /**
   * Resolves when the section is free, or when `signal` aborts (the section may be occupied then). In both cases
   * the caller calls the returned function once, to let the next caller in.
   */
  async enter(signal: AbortSignal): Promise<() => void> {
    const before = this.#last;
    let releaseMutex: () => void = () => undefined;
    const left = new Promise<void>((resolve) => (releaseMutex = resolve));
    // A caller that aborts must not let the next one in before the callers ahead of it.
    this.#last = before.then(() => left);
    await untilAborted(before, signal);
    return releaseMutex;
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
