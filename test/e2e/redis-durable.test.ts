import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import type { RedisConnection } from '../../src/redis/connection.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let redis: RedisServer;
let operator: RedisConnection;
let relay: RelayUnderTest;
beforeAll(async () => {
  redis = await startRedis({ settings: { appendfsync: 'everysec' } });
  operator = createRedisConnection({
    address: parseRedisUrl(redis.url),
    clock: systemClock,
    timeoutMs: 2000,
  });
  await operator.untilUp(2000);
});
afterEach(() => relay.stop());
afterAll(async () => {
  await operator.close();
  await redis.close();
});

const start = async (env: Record<string, string> = {}): Promise<void> => {
  relay = await startRelay({ env: { STORE: 'redis', REDIS_URL: redis.url, ...env } });
};
const post = () => relay.post('/v1/events', { event_name: 'e', distinct_id: 'd' });
const isDurable = async (): Promise<boolean> =>
  (await relay.app.metrics.registry.metrics()).includes('\nrelay_store_durable 1\n');

it('the relay uses a Redis that may lose acknowledged writes, and logs a warning', async () => {
  await start();
  expect(await isDurable()).toBe(false);
  await relay.until('it is said', () =>
    relay.logged.some((line) => line.includes('"level":40') && line.includes('appendfsync')),
  );
  expect((await post()).status).toBe(202);
});

it('with REDIS_REQUIRE_DURABLE the relay accepts nothing until a new connection finds durable settings', async () => {
  await start({ REDIS_REQUIRE_DURABLE: 'true' });
  const response = await post();
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('10');
  expect(response.body.detail).toContain('REDIS_REQUIRE_DURABLE');
  const ready = await relay.get('/readyz');
  expect(ready.status).toBe(503);
  expect(JSON.stringify(ready.body)).toContain('lossy');
  await operator.call('CONFIG', 'SET', 'appendfsync', 'always');
  await operator.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await relay.until('it is durable', isDurable);
  await relay.until('it is ready', async () => (await relay.get('/readyz')).status === 200);
  expect((await post()).status).toBe(202);
});

it('the relay warns of a Redis for the limiter alone that may evict keys', async () => {
  await operator.call('CONFIG', 'SET', 'maxmemory', '64mb');
  await operator.call('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
  relay = await startRelay({ env: { STORE: 'memory', RATE_LIMIT_REDIS_URL: redis.url } });
  await relay.until('it is said', () =>
    relay.logged.some((line) => line.includes('maxmemory-policy is allkeys-lru')),
  );
});
