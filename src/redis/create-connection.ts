import type { Clock, Timer } from '../clock.js';
import type { RedisAddress, SentinelAuth } from './address.js';
import type { Redis } from 'ioredis';
import { readReplicaCount, toWaitArguments } from './replica-wait.js';
import { createClient } from './client.js';
import {
  toDatabaseFailure,
  toEarlyEnd,
  toRedisFailure,
  describeFailure,
  type RedisFailure,
} from './failures.js';
import {
  ScriptError,
  UnavailableError,
  UnreplicatedError,
  type RedisConnection,
  type RedisReply,
  type Script,
} from './connection.js';

export type RedisConnectionOptions = {
  readonly address: RedisAddress;
  /** All keys have the hash tag of this one: a cluster has one node for them, which is connected to. */
  readonly key?: string;
  /** Of the sentinels. Absent: the user and password of the address. */
  readonly sentinelAuth?: SentinelAuth | undefined;
  /** The variable that the address is from. */
  readonly setting?: string;
  readonly clock: Clock;
  /** Time limit of one command. A server that is slower is taken to hang, and is connected to anew. */
  readonly timeoutMs: number;
};

const notTried: RedisFailure = { why: 'it is not connected', isCertain: false };
/** What begins an error in the protocol: a minus. */
const errorReply = 0x2d;
const closed: RedisFailure = { why: 'the connection was closed', isCertain: false };

type Attempt = { isConnected: boolean; failure: RedisFailure | null; words: string | null };
const toAttempt = (): Attempt => ({ isConnected: false, failure: null, words: null });

export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  const { address, clock, timeoutMs, key = '' } = options;
  const context = { address, timeoutMs, setting: options.setting ?? 'REDIS_URL' };
  /** Connections in a row that were made and could not be used. */
  let refusals = 0;
  const { redis: client, sentinels } = createClient(address, {
    ...{ key, clock, timeoutMs, sentinelAuth: options.sentinelAuth },
    refusals: () => refusals,
  });
  const changeListeners = new Set<(isUp: boolean) => void>();
  const failureListeners = new Set<(failure: RedisFailure) => void>();
  let failure: RedisFailure | null = notTried;
  /** Of the connection that is being made, or that is there. */
  let attempt = toAttempt();

  const become = (next: RedisFailure | null): void => {
    const before = failure;
    failure = next;
    if ((before === null) !== (next === null)) {
      for (const listener of [...changeListeners]) listener(next === null);
    }
    if (next !== null && next.why !== before?.why) {
      for (const listener of [...failureListeners]) listener(next);
    }
  };
  const goDown = (next: RedisFailure): void => {
    if (failure === null) become(next);
  };

  sentinels?.onDoubt((why) => {
    attempt.failure = { why, isCertain: false };
    cut(client);
    goDown(attempt.failure);
  });
  client.on('connecting', () => (attempt = toAttempt()));
  client.on('connect', () => {
    const current = attempt;
    current.isConnected = true;
    // A server that closes the connection at once says why first, and the client drops it.
    client.stream.once('data', (data: Buffer) => {
      if (data[0] === errorReply) current.words = data.toString('utf8', 1);
    });
  });
  client.on('error', (error: unknown) => {
    // What the server says of the database is asked once more, and judged then.
    if (isOfSelect(error)) return;
    attempt.failure = toRedisFailure(error, context);
    // While it is up its end shows that the connection is gone, and nothing does before.
    if (failure !== null) become(attempt.failure);
  });
  for (const event of ['close', 'end']) {
    client.on(event, () => {
      if (failure === null) become(attempt.failure ?? closed);
      else if (attempt.failure === null && attempt.isConnected)
        become(toEarlyEnd(attempt.words, context));
    });
  }
  client.on('reconnecting', () => goDown(attempt.failure ?? closed));
  client.on('ready', () => {
    const current = attempt;
    verifyServer(client, address, key)
      .then(() => {
        if (attempt !== current) return;
        refusals = 0;
        current.failure = null;
        become(null);
      })
      .catch((error: unknown) => {
        if (attempt !== current) return;
        refusals++;
        current.failure = toDatabaseFailure(error, context) ?? toRedisFailure(error, context);
        become(current.failure);
        client.disconnect(true);
      });
  });

  const ask = async <T>(make: () => Promise<T>, limitMs = timeoutMs): Promise<T> => {
    if (failure !== null) throw new UnavailableError(failure.why);
    try {
      return await inTime(make(), limitMs);
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      if (error instanceof Error && error.name === 'ReplyError') throw fromReply(error.message);
      // The connection goes, and its end may not have been reported yet.
      const next = toRedisFailure(error, context);
      goDown(next);
      throw new UnavailableError(next.why);
    }
  };

  const inTime = async <T>(work: Promise<T>, limitMs: number): Promise<T> => {
    let timer: Timer | undefined;
    const overdue = new Promise<never>((_resolve, reject) => {
      timer = clock.setTimer(limitMs, () => {
        // Whatever else waits would wait as long; a new connection shows whether it is there.
        const why = `Redis does not answer within ${limitMs} ms`;
        attempt.failure = { why, isCertain: false };
        cut(client);
        goDown(attempt.failure);
        reject(new UnavailableError(why));
      });
    });
    try {
      return await Promise.race([work, overdue]);
    } finally {
      timer?.cancel();
    }
  };

  const send = (command: string, args: Arguments) =>
    client.callBuffer(command, ...args.map(toArgument)) as Promise<RedisReply>;
  const call = (command: string, args: Arguments) => ask(() => send(command, args));

  return {
    isUp: () => failure === null,
    failure: () => failure,
    onChange(listener) {
      changeListeners.add(listener);
      return () => changeListeners.delete(listener);
    },
    onFailure(listener) {
      failureListeners.add(listener);
      return () => failureListeners.delete(listener);
    },
    run: (script, prefix, args) => evaluate(script, toArguments(script, prefix, args), call),
    async runReplicated(script, { prefix, args, command, replicas, ms }) {
      // Both are sent at once: the server answers the second when it has heard of enough replicas.
      const both = (name: string, rest: Arguments) =>
        ask(async () => {
          const written = send(name, rest);
          written.catch(() => undefined);
          const waited = send(command, toWaitArguments(command, { replicas, ms }));
          // The connection is taken up by the wait, though the script failed.
          await waited.catch(() => undefined);
          return [await written, await waited] as const;
        }, timeoutMs + ms);
      const [reply, waited] = await evaluate(script, toArguments(script, prefix, args), both);
      const have = readReplicaCount(waited);
      if (have < replicas)
        throw new UnreplicatedError(
          `${have} of ${replicas} replicas have what was written within ${ms} ms`,
        );
      return reply;
    },
    call: (command, ...args) => call(command, args),
    untilUp(ms) {
      const isOver = (): boolean => failure === null || failure.isCertain;
      if (isOver()) return Promise.resolve(failure === null);
      return new Promise((resolve) => {
        const end = (): void => {
          timer.cancel();
          changeListeners.delete(look);
          failureListeners.delete(look);
          resolve(failure === null);
        };
        const look = (): void => {
          if (isOver()) end();
        };
        const timer = clock.setTimer(ms, end);
        changeListeners.add(look);
        failureListeners.add(look);
      });
    },
    async close() {
      changeListeners.clear();
      failureListeners.clear();
      if (failure === null) await client.quit().catch(() => undefined);
      client.disconnect();
      sentinels?.close();
    },
  };
}

/**
 * Before a connection is used:
 *
 * - The client goes on in database 0 where the server refuses the one that it asked for, so it is asked
 *   for once more.
 * - A node of a cluster has to be up, and to have the slot of `key`.
 * - What sentinels name has to be a primary by its own word, too.
 */
async function verifyServer(client: Redis, address: RedisAddress, key: string): Promise<void> {
  const { kind, database } = address;
  if (kind === 'cluster') {
    await client.exists(key);
  } else if (database !== 0) await client.call('SELECT', String(database));
  if (kind !== 'sentinel') return;
  const [role] = (await client.call('ROLE')) as readonly unknown[];
  if (role !== 'master') throw new Error(`the server is a ${String(role)}, not the primary`);
}

function isOfSelect(error: unknown): boolean {
  if (!(error instanceof Error && 'command' in error)) return false;
  const { command } = error;
  return typeof command === 'object' && command !== null && 'name' in command
    ? command.name === 'select'
    : false;
}

type Arguments = readonly (string | number | Uint8Array)[];

/** By its digest; with its text where the server does not know it. */
async function evaluate<T>(
  { lua, sha }: Script,
  rest: Arguments,
  send: (command: string, args: Arguments) => Promise<T>,
): Promise<T> {
  try {
    return await send('EVALSHA', [sha, ...rest]);
  } catch (error) {
    const isUnknown =
      error instanceof UnavailableError && error.reply?.startsWith('NOSCRIPT') === true;
    if (!isUnknown) throw error;
    return send('EVAL', [lua, ...rest]);
  }
}

function toArguments({ keys }: Script, prefix: string, args: Arguments): Arguments {
  return [keys.length + 1, prefix, ...keys.map((name) => prefix + name), ...args];
}

/** Closed without a goodbye, which a server that hangs would not answer. It is connected to anew. */
function cut(client: Redis): void {
  client.stream.destroy();
}

function toArgument(value: string | number | Uint8Array): string | Buffer {
  if (typeof value === 'string') return value;
  return typeof value === 'number'
    ? String(value)
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** A fault of the script itself, as Lua reports it: Redis 7 and 6.2 write it down differently. */
const luaFault =
  /^ERR (?:Error running script \(call to f_[0-9a-f]+\): @user_script:\d+: )?user_script:\d+: (?!not enough memory)/;

/**
 * What the server answered with is its own failure, whatever it says: a replica, somebody's script that
 * runs, an access list, a provider's quota. Certainly ours is only what our scripts raise, and a fault in them.
 */
function fromReply(message: string): Error {
  const [, code] = /^(RELAY_[A-Z]+)/.exec(message) ?? [];
  if (code !== undefined) return new ScriptError(code, describeFailure(message));
  if (luaFault.test(message)) return new ScriptError('LUA', describeFailure(message));
  return new UnavailableError(
    `Redis answers "${describeFailure(message)}"`,
    describeFailure(message),
  );
}
