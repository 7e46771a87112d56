import { Redis } from 'ioredis';
import type { Clock } from '../clock.js';
import type { RedisAddress, RedisHost, SentinelAuth } from './address.js';
import { toLocatedConnector } from './located-connector.js';
import { Sentinels } from './sentinels.js';
import { createSlotLocator } from './slot-owner.js';

/** Longest wait before it is tried again whether a server is back, ms. */
const maxReconnectMs = 1000;

export type ClientOptions = {
  /** All keys have the hash tag of this one. */
  readonly key: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Connections in a row that were made and could not be used: the next is tried later. */
  readonly refusals: () => number;
  /** Of the sentinels. Absent: those of Redis. */
  readonly sentinelAuth?: SentinelAuth | undefined;
};

export type Client = {
  readonly redis: Redis;
  /** Where there are any: they have to be closed, too. */
  readonly sentinels: Sentinels | null;
};

/** Queues nothing while it is not connected, and sends nothing a second time by itself. */
export function createClient(address: RedisAddress, options: ClientOptions): Client {
  const { kind, hosts, isTls, database: db } = address;
  const shared = { ...toCommon(address, options), ...toAuth(address) };
  if (kind === 'single')
    return { redis: new Redis({ ...shared, ...hosts[0], db }), sentinels: null };
  if (kind === 'cluster') {
    const client = { ...shared, enableReadyCheck: false };
    const { locate, suspect } = createSlotLocator({ seeds: hosts, key: options.key, client });
    const reconnectOnError = (error: Error): boolean => {
      if (isSplit(error.message)) suspect();
      return isSplit(error.message) || isMoved(error.message);
    };
    const Connector = toLocatedConnector({ locate, isTls });
    return { redis: new Redis({ ...shared, Connector, reconnectOnError }), sentinels: null };
  }
  const { username, password } = options.sentinelAuth ?? address;
  const sentinels = new Sentinels({
    hosts,
    primary: address.primary ?? '',
    client: { ...toCommon(address, options), ...toAuth({ username, password }) },
    clock: options.clock,
  });
  const locate = (): Promise<RedisHost> => sentinels.locate();
  return {
    redis: new Redis({ ...shared, db, Connector: toLocatedConnector({ locate, isTls }) }),
    sentinels,
  };
}

function toCommon(address: RedisAddress, { timeoutMs, refusals }: ClientOptions) {
  return {
    ...(address.isTls && { tls: {} }),
    connectTimeout: timeoutMs,
    // Also those by which a connection makes sure that the server is ready.
    commandTimeout: 2 * timeoutMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times: number) => Math.min(maxReconnectMs, 50 * times + 250 * refusals()),
    // Whoever is the primary now, or has the slot, has to be found.
    reconnectOnError: (error: Error) => isMoved(error.message),
    connectionName: 'klaviyo-relay',
  };
}

type Auth = { readonly username?: string | undefined; readonly password?: string | undefined };

const toAuth = ({ username, password }: Auth) => ({
  ...(username !== undefined && { username }),
  ...(password !== undefined && { password }),
});

const isMoved = (reply: string): boolean =>
  /^(READONLY|MOVED|CLUSTERDOWN|MASTERDOWN)\b/.test(reply);

const isSplit = (reply: string): boolean => /^(ASK|TRYAGAIN)\b/.test(reply);
