import { systemClock, wait } from '../../clock.js';
import type { RedisAddress, SentinelAuth } from '../../redis/address.js';
import type { RedisFailure } from '../../redis/failures.js';
import { readDurability, type Durability } from '../../redis/durability.js';
import { createRedisConnection } from '../../redis/create-connection.js';
import { ReplicatedWrites } from '../../redis/replicated-writes.js';
import { FileRewrite } from '../../redis/file-rewrite.js';
import { SettingError, UnavailableError } from '../../redis/connection.js';
import { toEpoch } from '../ids.js';
import type { StoreOptions } from '../options.js';
import { AccountGuard, toAccountKey, type AccountOptions } from './account.js';
import { RedisStore, type RedisOptions } from './redis.js';
import { Session, type SessionOptions } from './session.js';

export type OpenRedisOptions = StoreOptions &
  Pick<RedisOptions, 'requiresDurable' | 'onSynced'> &
  Pick<
    SessionOptions,
    'leaseMs' | 'time' | 'onTakenOver' | 'onLate' | 'onLeaseLost' | 'onBufferLost'
  > &
  Pick<SessionOptions, 'onFatal'> &
  Pick<AccountOptions, 'account' | 'acceptedKey'> & {
    /** API key of the Klaviyo account that the store belongs to. */
    readonly apiKey: string;
    readonly address: RedisAddress;
    readonly sentinelAuth?: SentinelAuth | undefined;
    /** REDIS_KEY_PREFIX, without the braces of the hash tag. */
    readonly keyPrefix: string;
    readonly timeoutMs: number;
    readonly stated: 'auto' | 'yes' | 'no';
    /** Number of replicas that must have an append before it is acknowledged. */
    readonly waitReplicas: number;
    /** Called when the server starts or stops to accept writes, with the reason. */
    readonly onServer: SessionOptions['onChange'];
    /** Called after the first reading on each connection, and when a reading, once a minute, shows a change. */
    readonly onDurability: (durability: Durability) => void;
  };

/**
 * Opens the store. Resolves also if the server is unavailable: nothing is accepted until it is back. Rejects with
 * SettingError if the server lacks the database, or if the store belongs to another account.
 */
export async function openRedis(options: OpenRedisOptions): Promise<RedisStore> {
  const { address, sentinelAuth, timeoutMs, random, keyPrefix, onServer, onDurability } = options;
  const { waitReplicas } = options;
  const prefix = `{${keyPrefix}}`;
  // Timeouts of commands run in real time, whatever clock the relay runs on.
  const connectionOptions = { address, sentinelAuth, timeoutMs, key: prefix, clock: systemClock };
  const connection = createRedisConnection(connectionOptions);
  const replicated =
    waitReplicas === 0
      ? null
      : new ReplicatedWrites({
          connection: createRedisConnection(connectionOptions),
          replicas: waitReplicas,
          waitMs: timeoutMs,
        });
  const closing = new AbortController();
  const rewrite = new FileRewrite({
    connection,
    hash: `${prefix}:meta`,
    clock: options.clock,
    signal: closing.signal,
  });
  let isDurable = false;
  let isOpen = false;
  /** The last report since the server was connected. */
  let reported = { facts: '', finding: null as string | null };

  const readServerInfo = async (): Promise<void> => {
    try {
      const durability = await readDurability(connection, options);
      ({ isDurable } = durability);
      const facts = JSON.stringify(durability);
      if (facts !== reported.facts) onDurability(durability);
      reported.facts = facts;
      const finding = await rewrite.ensure();
      if (finding !== null && finding !== reported.finding)
        onDurability({ ...durability, findings: [finding] });
      reported.finding = finding;
    } catch (error) {
      // The server is unavailable again; the next connection reads it.
      if (!(error instanceof UnavailableError)) throw error;
    }
  };
  const askEveryMinute = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await wait(options.clock, settingsMs, closing.signal);
      if (connection.isUp()) await readServerInfo();
    }
  };
  connection.onChange((isUp) => {
    if (isUp) readServerInfo().catch(options.onFatal);
    else {
      // The next connection may lead to another server.
      isDurable = false;
      reported = { facts: '', finding: null };
    }
  });
  const accountKey = toAccountKey(options.apiKey, keyPrefix);
  const guard = new AccountGuard({ ...options, connection, prefix, accountKey });
  /** Resolves with the reason why the key is not admitted; null if it is admitted, or if the server cannot be asked now. */
  const admit = async (): Promise<string | null> => {
    const why = await unlessAway(guard.admit());
    if (why === null) await session.heartbeat();
    return why;
  };
  const session: Session = new Session({
    ...options,
    connection,
    replicated,
    prefix,
    accountKey,
    newName: () => toEpoch(random()) + toEpoch(random()),
    newEpoch: () => toEpoch(random()),
    onChange: onServer,
    onVerified: () => void unlessAway(guard.learn()).catch(options.onFatal),
    onForeign: () => {
      // `openRedis` itself awaits `admit` at the start.
      if (!isOpen) return;
      admit()
        .then((why) => why === null || onServer(false, why))
        .catch(options.onFatal);
    },
  });
  const store = new RedisStore({
    ...options,
    session,
    isDurable: () => isDurable,
    closeConnections: async () => {
      closing.abort();
      await Promise.all([connection.close(), replicated?.close()]);
    },
  });
  askEveryMinute().catch(options.onFatal);
  await connection.untilUp(timeoutMs);
  await session.heartbeat();
  const wrong = session.isForeign ? await admit() : toWrongDatabase(connection.failure());
  if (wrong !== null) {
    await store.close();
    throw new SettingError(session.isForeign ? 'KLAVIYO_API_KEY' : 'REDIS_URL', wrong);
  }
  isOpen = true;
  return store;
}

/** Interval at which the server's settings are read again: they may be changed while it runs. */
const settingsMs = 60_000;

const toWrongDatabase = (failure: RedisFailure | null): string | null =>
  failure?.isCertain === true ? failure.why : null;

async function unlessAway<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return null;
  }
}
