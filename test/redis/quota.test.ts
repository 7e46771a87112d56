import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type TestResponse, type RelayUnderTest } from '../support/relay.js';

let redis: RedisServer;
const relays: RelayUnderTest[] = [];
beforeAll(async () => {
  redis = await startRedis({ settings: { appendfsync: 'no' } });
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.stop();
});
afterAll(() => redis.close());

const env = () => ({
  RATE_LIMIT_REDIS_URL: redis.url,
  INGEST_RATE_LIMIT_PER_SECOND: '3',
  RELAY_API_KEYS: 'ingest-key-1,ingest-key-2',
  REDIS_TIMEOUT_MS: '5000',
});

const post = (relay: RelayUnderTest, key = 'ingest-key-1'): Promise<TestResponse> =>
  relay.post(
    '/v1/events',
    { event_name: 'e', distinct_id: 'd' },
    { authorization: `Bearer ${key}` },
  );

/** The clocks of the relays stand still, so the window does not move. */
async function startTwo(): Promise<readonly [RelayUnderTest, RelayUnderTest]> {
  for (let seed = 1; seed <= 2; seed++) relays.push(await startRelay({ seed, env: env() }));
  return [relays[0]!, relays[1]!];
}

it('the quota of a caller applies to all relays together and to each caller separately', async () => {
  const [a, b] = await startTwo();
  const statuses = [];
  for (const relay of [a, b, a, b]) statuses.push((await post(relay)).status);
  expect(statuses).toEqual([202, 202, 202, 429]);
  expect((await post(b)).headers.get('retry-after')).toBe('1');
  expect((await post(b, 'ingest-key-2')).status).toBe(202);
});

it('Redis contains no API key of a caller', async () => {
  const [a] = await startTwo();
  await post(a);
  const connection = createRedisConnection({
    address: parseRedisUrl(redis.url),
    clock: systemClock,
    timeoutMs: 2000,
  });
  await connection.untilUp(2000);
  const names = String(await connection.call('KEYS', '*quota*'));
  await connection.close();
  expect(names).toContain('quota');
  expect(names).not.toContain('ingest-key-1');
});

it('while Redis is down each relay counts by itself and accepts requests', async () => {
  const [a, b] = await startTwo();
  await redis.kill();
  const statuses = [];
  for (const relay of [a, a, a, a, b]) statuses.push((await post(relay)).status);
  expect(statuses).toEqual([202, 202, 202, 429, 202]);
  await redis.start();
});
