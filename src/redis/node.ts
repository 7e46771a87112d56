import { Redis, type RedisOptions } from 'ioredis';
import type { RedisHost } from './address.js';

export type SlotOptions = {
  /** Nodes to begin with. */
  readonly seeds: readonly RedisHost[];
  /** All keys have the hash tag of this one, so that one node has all of them. */
  readonly key: string;
  /** For a connection that asks a node where the slot is. */
  readonly client: Omit<RedisOptions, 'replyMapping' | 'protocol'>;
};

/** Over a connection of its own. */
export async function sendCommand<T>(
  host: RedisHost,
  client: SlotOptions['client'],
  make: (redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = new Redis({ ...client, ...host, lazyConnect: true, retryStrategy: () => null });
  const reported: Error[] = [];
  redis.on('error', (error) => reported.push(error));
  try {
    await redis.connect();
    return await make(redis);
  } catch (error) {
    throw reported[0] ?? error;
  } finally {
    redis.disconnect();
  }
}
