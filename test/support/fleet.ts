import { postBody, type PostResponse } from './posters.js';
import type { RelayProcess } from './relay-process.js';
import { below, type Random } from './seeded-load.js';

/** A relay of the fleet that listens. */
export type Member = {
  readonly running: RelayProcess;
  readonly url: string;
  /** Abort controllers of posts that wait for a response and may be aborted. */
  readonly open: Set<AbortController>;
  isFrozen: boolean;
};

/**
 * Relays that share a store. Posts are distributed in turn; a post that one relay rejects goes to the
 * next one, as behind a load balancer.
 */
export class Fleet {
  readonly #start: () => RelayProcess;
  readonly #members = new Set<Member>();
  readonly #starting = new Set<Promise<void>>();
  readonly #ending = new Set<Promise<void>>();
  readonly #all: RelayProcess[] = [];
  readonly #problems: string[] = [];
  readonly #rejectionListeners = new Set<() => void>();
  #nextIndex = 0;
  /** Posts that a relay answered with 503 or 408. */
  rejectedPosts = 0;

  constructor(start: () => RelayProcess) {
    this.#start = start;
  }

  /** Number of relays that listen or are starting. */
  get size(): number {
    return this.#members.size + this.#starting.size;
  }

  get members(): readonly Member[] {
    return [...this.#members];
  }

  get started(): number {
    return this.#all.length;
  }

  /** Processes that ended unexpectedly. */
  get exits(): number {
    return this.#all.filter((running) => running.unexpectedEnd() !== null).length;
  }

  /** Starts a relay. Resolves once it listens. */
  add(): Promise<void> {
    const running = this.#start();
    this.#all.push(running);
    const starting = running.listening
      .then((url) => {
        if (url !== null) this.#members.add({ running, url, open: new Set(), isFrozen: false });
      })
      .finally(() => this.#starting.delete(starting));
    this.#starting.add(starting);
    return starting;
  }

  /** Returns a random relay that is not frozen, once at least two are running. */
  async pick(random: Random): Promise<Member> {
    while (this.#running().length < 2) await Promise.race(this.#starting);
    const moving = this.#running();
    const member = moving[below(random, moving.length)];
    if (member === undefined) throw new Error('no relay is running');
    return member;
  }

  /** Sends the signal and returns at once; `untilEnded` waits for the end. */
  end(member: Member, signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#members.delete(member);
    const ending = member.running
      .end(signal)
      .then((code) => {
        if (signal === 'SIGTERM' && code !== 0)
          this.#problems.push(`SIGTERM ends a relay with ${String(code)}`);
      })
      .finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  /** Stops the process with SIGSTOP: its connections stay open, and it answers nothing. */
  freeze(member: Member): void {
    process.kill(member.running.pid, 'SIGSTOP');
    member.isFrozen = true;
    for (const each of member.open) each.abort();
  }

  thaw(member: Member): void {
    process.kill(member.running.pid, 'SIGCONT');
    member.isFrozen = false;
  }

  /** Resolves with the first response that is neither 503 nor 408, or null if the response is lost. */
  async send(path: string, body: string): Promise<PostResponse | null> {
    for (;;) {
      const member = await this.#next();
      const response = await post(member, path, body);
      // A relay that was stopped answers 408 to a request that took too long, and accepts none of it.
      if (response?.status !== 503 && response?.status !== 408) return response;
      this.rejectedPosts++;
      for (const listener of [...this.#rejectionListeners]) listener();
    }
  }

  /** Calls the listener for each rejected post. Returns a function that removes the listener. */
  onRejected(listener: () => void): () => void {
    this.#rejectionListeners.add(listener);
    return () => this.#rejectionListeners.delete(listener);
  }

  nextRejection(): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.onRejected(() => {
        stop();
        resolve();
      });
    });
  }

  /** Returns the number of log lines of all processes that contain `text`. */
  count(text: string): number {
    return this.#all.reduce(
      (sum, { lines }) => sum + lines.filter((line) => line.includes(text)).length,
      0,
    );
  }

  async untilStarted(): Promise<void> {
    await Promise.all(this.#starting);
  }

  async untilEnded(): Promise<void> {
    await Promise.all(this.#ending);
  }

  /** Ends all relays. */
  async close(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    await Promise.allSettled(this.#starting);
    for (const member of this.#members) this.end(member, signal);
    await this.untilEnded();
    if (signal === 'SIGKILL') await Promise.all(this.#all.map((running) => running.end(signal)));
  }

  /** Returns unexpected ends of processes, and the error lines that do not match `expected`. */
  problems(expected: RegExp): readonly string[] {
    const errors = this.#all.flatMap(({ lines }) =>
      lines.filter((line) => /"level":"(error|fatal)"/.test(line) && !expected.test(line)),
    );
    const faults = this.#all.flatMap((running) => running.unexpectedEnd()?.message ?? []);
    return [...this.#problems, ...faults, ...errors];
  }

  #running(): readonly Member[] {
    return [...this.#members].filter(({ isFrozen: isStill }) => !isStill);
  }

  async #next(): Promise<Member> {
    for (;;) {
      const moving = this.#running();
      const member = moving[this.#nextIndex++ % moving.length];
      if (member !== undefined) return member;
      if (this.#starting.size === 0) throw new Error('no relay runs');
      await Promise.race(this.#starting);
    }
  }
}

/**
 * A post of events may be aborted when its relay is frozen, and goes to another relay: a repeat is
 * recognised by its id. A post of profiles waits for its response, because responses define the order of updates.
 */
async function post(
  { url, open }: Member,
  path: string,
  body: string,
): Promise<PostResponse | null> {
  if (!path.startsWith('/v1/events')) return postBody(url + path, body);
  const giving = new AbortController();
  open.add(giving);
  try {
    return await postBody(url + path, body, giving.signal);
  } finally {
    open.delete(giving);
  }
}
