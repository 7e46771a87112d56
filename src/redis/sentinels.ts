import { Redis, type RedisOptions } from 'ioredis';
import { z } from 'zod';
import type { Clock, Timer } from '../clock.js';
import type { RedisHost } from './address.js';
import { toError, toErrorMessage } from '../error.js';

export type SentinelsOptions = {
  readonly hosts: readonly RedisHost[];
  /** The sentinels' name for the primary. */
  readonly primary: string;
  readonly client: Omit<RedisOptions, 'replyMapping' | 'protocol'>;
  readonly clock: Clock;
};

/** Interval of queries, in addition to the announcements that sentinels publish. */
const pollMs = 1000;
/**
 * The relay stops writing to a primary that a majority of the sentinels has not confirmed for this long: on the
 * other side of a network partition they may have promoted another one. Sentinels wait longer before they do
 * (`down-after-milliseconds`, 30 s by default).
 */
const trustMs = 5000;

/** Extra wait for the other sentinels after a majority answered. One that learns of a failover from others is up to two seconds late. */
const graceMs = 200;

/** Channels on which sentinels announce that the primary is about to change, or has changed. */
const channels = [
  '+try-failover',
  '+failover-state-select-slave',
  '+promoted-slave',
  '+switch-master',
];

/**
 * Finds the primary through its sentinels, and watches for a failover.
 *
 * During a failover the former primary accepts writes for seconds after another server was promoted, and loses all
 * of them. So the relay sends nothing to it from the moment at which a sentinel announces the failover.
 */
export class Sentinels {
  readonly #options: SentinelsOptions;
  readonly #asked: readonly Redis[];
  readonly #listening: readonly Redis[];
  /** Error of each connection that cannot be used. */
  readonly #failures = new Map<Redis, Error>();
  #current: RedisHost | null = null;
  #timer: Timer | null = null;
  /** Monotonic ms when a majority confirmed the primary last. */
  #confirmedAt = -Infinity;
  #isClosed = false;
  #onDoubt: (why: string) => void = () => undefined;

  constructor(options: SentinelsOptions) {
    this.#options = options;
    this.#asked = options.hosts.map((host) => this.#connect(host));
    this.#listening = options.hosts.map((host) => this.#listen(host));
  }

  /** Calls the listener with the reason when the primary that `locate` named last must not be written to any more. */
  onDoubt(listener: (why: string) => void): void {
    this.#onDoubt = listener;
  }

  /** Resolves with the primary of the newest epoch. Rejects during a failover, and if no majority of the sentinels answers. */
  async locate(): Promise<RedisHost> {
    this.#current = null;
    const host = toPrimary(await this.#ask(), this.#asked.length);
    this.#current = host;
    this.#confirmedAt = this.#options.clock.monotonic();
    this.#arm();
    return host;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const redis of [...this.#asked, ...this.#listening]) redis.disconnect();
  }

  #connect(host: RedisHost): Redis {
    const redis = new Redis({
      ...this.#options.client,
      ...host,
      enableReadyCheck: false,
      enableOfflineQueue: true,
      maxRetriesPerRequest: 0,
      retryStrategy: () => pollMs,
    });
    // The error is reported when a query fails.
    redis.on('error', (error) => this.#failures.set(redis, error));
    redis.on('ready', () => this.#failures.delete(redis));
    return redis;
  }

  #listen(host: RedisHost): Redis {
    const redis = this.#connect(host);
    redis.on('ready', () => void redis.subscribe(...channels).catch(() => undefined));
    redis.on('message', (_channel, message) => {
      if (message.split(' ').includes(this.#options.primary))
        this.#doubt('the sentinels are making another server the primary');
    });
    return redis;
  }

  #doubt(why: string): void {
    if (this.#current === null || this.#isClosed) return;
    this.#current = null;
    this.#timer?.cancel();
    this.#onDoubt(why);
  }

  #arm(): void {
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#timer = this.#options.clock.setTimer(pollMs, () => void this.#poll());
  }

  async #poll(): Promise<void> {
    const { clock } = this.#options;
    const before = this.#current;
    const answers = await this.#ask();
    if (this.#isClosed || before === null || this.#current !== before) return;
    try {
      const { host, port } = toPrimary(answers, this.#asked.length);
      this.#confirmedAt = clock.monotonic();
      if (host !== before.host || port !== before.port) {
        this.#doubt(`the primary is ${host}:${port} now`);
        return;
      }
    } catch (error) {
      const isOver = clock.monotonic() - this.#confirmedAt >= trustMs;
      if (isOver || error instanceof FailoverError) {
        this.#doubt(toErrorMessage(error));
        return;
      }
    }
    this.#arm();
  }

  /** Does not wait for a hung sentinel after a majority answered and `graceMs` passed. */
  #ask(): Promise<readonly (View | Error)[]> {
    const { clock, primary } = this.#options;
    const answers: (View | Error)[] = [];
    return new Promise((resolve) => {
      let timer: Timer | null = null;
      const end = (): void => {
        timer?.cancel();
        resolve([...answers]);
      };
      const note = (answer: View | Error): void => {
        answers.push(answer);
        if (answers.length === this.#asked.length) end();
        else if (timer === null && isMost(answers, this.#asked.length))
          timer = clock.setTimer(graceMs, end);
      };
      for (const redis of this.#asked) {
        redis
          .call('SENTINEL', 'MASTER', primary)
          .then((reply) => note(toView(reply)))
          .catch((error: unknown) => note(this.#failures.get(redis) ?? toError(error)));
      }
    });
  }
}

const isMost = (answers: readonly (View | Error)[], count: number): boolean =>
  2 * answers.filter((each) => !(each instanceof Error)).length > count;

class FailoverError extends Error {}

type View = {
  readonly host: string;
  readonly port: number;
  readonly epoch: number;
  readonly isFailingOver: boolean;
};

const fieldsSchema = z.looseObject({
  ip: z.string(),
  port: z.coerce.number(),
  flags: z.string(),
  'config-epoch': z.coerce.number(),
});

/** Parses a list of names and values. */
function toView(reply: unknown): View {
  const flat = z.array(z.string()).parse(reply);
  const pairs = flat.flatMap((name, index) =>
    index % 2 === 0 ? [[name, flat[index + 1]] as const] : [],
  );
  const { ip, port, flags, 'config-epoch': epoch } = fieldsSchema.parse(Object.fromEntries(pairs));
  return { host: ip, port, epoch, isFailingOver: flags.includes('failover_in_progress') };
}

/** Pure. Throws if a failover is under way, or if fewer than half of the sentinels answered. */
function toPrimary(answers: readonly (View | Error)[], count: number): RedisHost {
  const views = answers.filter((each): each is View => !(each instanceof Error));
  if (!isMost(answers, count)) {
    const error = answers.find((each) => each instanceof Error);
    throw new Error(
      `All sentinels are unreachable: ${views.length} of ${count} answer. Last error: ${error?.message ?? ''}`,
    );
  }
  if (views.some(({ isFailingOver }) => isFailingOver))
    throw new FailoverError('the sentinels are making another server the primary');
  const [newest] = [...views].sort((a, b) => b.epoch - a.epoch);
  if (newest === undefined) throw new Error('no sentinel answers');
  return { host: newest.host, port: newest.port };
}
