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
  /** All keys have the same hash tag as this key. In a cluster, the connection goes to the node that owns them. */
  readonly key?: string;
  /** User and password of the sentinels. Absent: those of the address. */
  readonly sentinelAuth?: SentinelAuth | undefined;
  /** Name of the setting that the address comes from, for messages. */
  readonly setting?: string;
  readonly clock: Clock;
  /** Time limit of one command. A slower server is considered hung, and the connection is made anew. */
  readonly timeoutMs: number;
};

const notTried: RedisFailure = { why: 'it is not connected', isCertain: false };
/** The first byte of an error in the Redis protocol: a minus. */
const errorReply = 0x2d;
const closed: RedisFailure = { why: 'the connection was closed', isCertain: false };

/** One connection attempt and the connection that results from it; `words` is the error that the server sent first. */
type Attempt = { isConnected: boolean; failure: RedisFailure | null; words: string | null };
const createAttempt = (): Attempt => ({ isConnected: false, failure: null, words: null });

export function createRedisConnection(options: RedisConnectionOptions): RedisConnection {
  const { address, clock, timeoutMs, key = '' } = options;
  const context = { address, timeoutMs, setting: options.setting ?? 'REDIS_URL' };
  /** Consecutive connections that were made and could not be used. */
  let failedConnections = 0;
  const { redis: client, sentinels } = createClient(address, {
    ...{ key, clock, timeoutMs, sentinelAuth: options.sentinelAuth },
    failedConnections: () => failedConnections,
  });
  const changeListeners = new Set<(isUp: boolean) => void>();
  const failureListeners = new Set<(failure: RedisFailure) => void>();
  let failure: RedisFailure | null = notTried;
  let attempt = createAttempt();

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
    destroyStream(client);
    goDown(attempt.failure);
  });
  client.on('connecting', () => (attempt = createAttempt()));
  client.on('connect', () => {
    const current = attempt;
    current.isConnected = true;
    // A server that rejects a connection sends an error before it closes, and ioredis drops this error.
    client.stream.once('data', (data: Buffer) => {
      if (data[0] === errorReply) current.words = data.toString('utf8', 1);
    });
  });
  client.on('error', (error: unknown) => {
    // `verifyServer` sends SELECT again and evaluates its error.
    if (isOfSelect(error)) return;
    attempt.failure = toRedisFailure(error, context);
    // While the connection is up, only the event of its end counts.
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
        failedConnections = 0;
        current.failure = null;
        become(null);
      })
      .catch((error: unknown) => {
        if (attempt !== current) return;
        failedConnections++;
        current.failure = toDatabaseFailure(error, context) ?? toRedisFailure(error, context);
        become(current.failure);
        client.disconnect(true);
      });
  });

  const sendCommand = async <T>(make: () => Promise<T>, limitMs = timeoutMs): Promise<T> => {
    if (failure !== null) throw new UnavailableError(failure.why);
    try {
      return await inTime(make(), limitMs);
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      if (error instanceof Error && error.name === 'ReplyError') throw fromReply(error.message);
      // The connection is ending, and the event of its end may still be outstanding.
      const next = toRedisFailure(error, context);
      goDown(next);
      throw new UnavailableError(next.why);
    }
  };

  const inTime = async <T>(work: Promise<T>, limitMs: number): Promise<T> => {
    let timer: Timer | undefined;
    const overdue = new Promise<never>((_resolve, reject) => {
      timer = clock.setTimer(limitMs, () => {
        // Every later command would wait as long. A new connection shows whether the server is there.
        const why = `Redis does not answer within ${limitMs} ms`;
        attempt.failure = { why, isCertain: false };
        destroyStream(client);
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
  const call = (command: string, args: Arguments) => sendCommand(() => send(command, args));

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
    run: (script, prefix, args) => evaluateScript(script, toArguments(script, prefix, args), call),
    async runReplicated(script, { prefix, args, command, replicas, ms }) {
      // Both commands are sent at once; the reply to the second one waits for the replicas.
      const both = (name: string, rest: Arguments) =>
        sendCommand(async () => {
          const written = send(name, rest);
          written.catch(() => undefined);
          const waited = send(command, toWaitArguments(command, { replicas, ms }));
          // The wait occupies the connection even if the script failed.
          await waited.catch(() => undefined);
          return [await written, await waited] as const;
        }, timeoutMs + ms);
      const [reply, waited] = await evaluateScript(script, toArguments(script, prefix, args), both);
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
 * Checks a server before a connection is used, and rejects if it is not the right one:
 *
 * - If the server rejects the database, ioredis goes on with database 0. So the database is selected again.
 * - A node of a cluster must be up and own the slot of `key`.
 * - A server that sentinels name must report itself as the primary.
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

/** Runs a script by its digest, and with its text if the server has not stored it yet. */
async function evaluateScript<T>(
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

/** Closes the socket without QUIT, which a hung server would not answer. ioredis then connects anew. */
function destroyStream(client: Redis): void {
  client.stream.destroy();
}

function toArgument(value: string | number | Uint8Array): string | Buffer {
  if (typeof value === 'string') return value;
  return typeof value === 'number'
    ? String(value)
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** An error that Lua reports for a bug in the script; Redis 7 and 6.2 format it differently. */
const luaFault =
  /^ERR (?:Error running script \(call to f_[0-9a-f]+\): @user_script:\d+: )?user_script:\d+: (?!not enough memory)/;

/**
 * An error reply is a failure of the server: a replica, another script that runs, an access list, a provider's
 * quota. Only what the relay's scripts raise, and a bug in them, is a fault of the relay.
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
