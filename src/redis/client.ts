import { Cluster, Redis } from 'ioredis';
import type { RedisAddress } from './address.js';

export type Client = Redis | Cluster;

/** Longest wait before it is tried again whether a server is back, ms. */
const maxReconnectMs = 1000;

export type ClientOptions = {
  readonly timeoutMs: number;
  /** Connections in a row that were made and could not be used: the next is tried later. */
  readonly refusals: () => number;
};

/** Queues nothing while it is not connected, and sends nothing a second time by itself. */
export function createClient(
  address: RedisAddress,
  { timeoutMs, refusals }: ClientOptions,
): Client {
  const { hosts, username, password } = address;
  const options = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(address.isTls && { tls: {} }),
    connectTimeout: timeoutMs,
    // Also those by which a connection makes sure that the server is ready.
    commandTimeout: 2 * timeoutMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times: number) => Math.min(maxReconnectMs, 50 * times + 250 * refusals()),
    // A primary that became a replica: whoever is the primary now has to be found.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    connectionName: 'klaviyo-relay',
  };
  if (address.kind === 'cluster') {
    const { retryStrategy, enableOfflineQueue, ...redisOptions } = options;
    return new Cluster([...hosts], {
      redisOptions,
      enableOfflineQueue,
      clusterRetryStrategy: retryStrategy,
    });
  }
  if (address.kind === 'sentinel') {
    return new Redis({
      ...options,
      sentinels: [...hosts],
      name: address.primary ?? '',
      db: address.database,
      // The same user and password everywhere, as most have it.
      ...(password !== undefined && { sentinelPassword: password }),
      ...(username !== undefined && { sentinelUsername: username }),
    });
  }
  const [server] = hosts;
  return new Redis({ ...options, ...server, db: address.database });
}
