import { postBody, type PostResponse } from './posters.js';
import type { RelayProcess } from './relay-process.js';
import { below, type Random } from './seeded-load.js';

/** One of the relays that listen. */
export type Member = {
  readonly running: RelayProcess;
  readonly url: string;
  /** Posts that wait for its answer, as far as they can be given up. */
  readonly open: Set<AbortController>;
  isFrozen: boolean;
};

/**
 * Relays that share a store. A post goes to one of them after the other; what one refuses another
 * is asked, as behind a load balancer.
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
  /** Posts that one of them did not take. */
  rejectedPosts = 0;

  constructor(start: () => RelayProcess) {
    this.#start = start;
  }

  /** Those that listen or are about to. */
  get size(): number {
    return this.#members.size + this.#starting.size;
  }

  get members(): readonly Member[] {
    return [...this.#members];
  }

  get started(): number {
    return this.#all.length;
  }

  /** Processes that ended without being told to. */
  get exits(): number {
    return this.#all.filter((running) => running.unexpectedEnd() !== null).length;
  }

  /** Resolves once it listens. */
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

  /** Any that runs, once there is another besides. */
  async pick(random: Random): Promise<Member> {
    while (this.#running().length < 2) await Promise.race(this.#starting);
    const moving = this.#running();
    const member = moving[below(random, moving.length)];
    if (member === undefined) throw new Error('there is none');
    return member;
  }

  /** Returns at once; `untilEnded` tells. */
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

  /** It stands still, as a machine does that has no turn: connections stay, nothing is answered. */
  freeze(member: Member): void {
    process.kill(member.running.pid, 'SIGSTOP');
    member.isFrozen = true;
    for (const each of member.open) each.abort();
  }

  thaw(member: Member): void {
    process.kill(member.running.pid, 'SIGCONT');
    member.isFrozen = false;
  }

  /** Resolves with the first answer that is not "not now"; null where the answer is lost. */
  async send(path: string, body: string): Promise<PostResponse | null> {
    for (;;) {
      const member = await this.#next();
      const answer = await post(member, path, body);
      // A relay that stood still finds that a request took too long, and has taken none of it.
      if (answer?.status !== 503 && answer?.status !== 408) return answer;
      this.rejectedPosts++;
      for (const listener of [...this.#rejectionListeners]) listener();
    }
  }

  /** Calls back at each post that one of them did not take. Returns the way to stop. */
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

  /** How many lines of all there ever were say so. */
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

  /** For good. */
  async close(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    await Promise.allSettled(this.#starting);
    for (const member of this.#members) this.end(member, signal);
    await this.untilEnded();
    if (signal === 'SIGKILL') await Promise.all(this.#all.map((running) => running.end(signal)));
  }

  /** What went wrong with their processes, and what they logged as errors but for `expected`. */
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
 * Who posts an event turns to another relay where one stands still: a repeat is known by its id. Who
 * posts a profile waits for the answer, because the order of updates is the order of the answers.
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
