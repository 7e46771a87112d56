import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import type { RedisConnection } from '../../src/redis/connection.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type TestResponse, type RelayUnderTest } from '../support/relay.js';

let redis: RedisServer;
let operator: RedisConnection;
const relays: RelayUnderTest[] = [];
beforeEach(async () => {
  const users = ['relay on >pw-of-relay ~* &* +@all'];
  redis = await startRedis({ users, settings: { appendfsync: 'no' } });
  operator = createRedisConnection({
    address: parseRedisUrl(redis.url),
    clock: systemClock,
    timeoutMs: 5000,
  });
  await operator.untilUp(5000);
});
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.stop();
  await operator.close();
  await redis.close();
});

const url = (): string => `redis://relay:pw-of-relay@127.0.0.1:${redis.port}/0`;

async function start(env: Record<string, string>): Promise<RelayUnderTest> {
  const relay = await startRelay({ env: { REDIS_TIMEOUT_MS: '5000', ...env } });
  relays.push(relay);
  return relay;
}
const post = (relay: RelayUnderTest): Promise<TestResponse> =>
  relay.post('/v1/events', { event_name: 'e', distinct_id: 'd' });
const checks = async (relay: RelayUnderTest): Promise<string> =>
  JSON.stringify((await relay.get('/readyz')).body.checks);
const isLogged = (relay: RelayUnderTest, words: string): boolean =>
  relay.logged.some((line) => line.includes('"level":50') && line.includes(words));

it('a relay answers 503 with the reason in /readyz and log while the Redis ACL forbids writes, and recovers afterwards', async () => {
  const relay = await start({ STORE: 'redis', REDIS_URL: url() });
  expect((await post(relay)).status).toBe(202);
  await operator.call('ACL', 'SETUSER', 'relay', '-@scripting');
  expect((await post(relay)).status).toBe(503);
  expect(await checks(relay)).toContain('unavailable: Redis answers \\"NOPERM');
  expect(isLogged(relay, 'NOPERM this user has no permissions')).toBe(true);
  await operator.call('ACL', 'SETUSER', 'relay', '+@all');
  await relay.until('it is ready', async () => (await relay.get('/readyz')).status === 200);
  expect((await post(relay)).status).toBe(202);
  await relay.untilSettled();
  expect((await relay.counts()).events).toMatchObject({ accepted: 2, delivered: 2 });
  expect(relay.logged.join('\n')).not.toContain('pw-of-relay');
});

it('a limiter whose Redis rejects commands delays sending, not intake, and logs the reason', async () => {
  const relay = await start({ RATE_LIMIT_REDIS_URL: url() });
  await operator.call('ACL', 'SETUSER', 'relay', '-@scripting');
  expect((await post(relay)).status).toBe(202);
  await relay.until('it is said', async () =>
    (await checks(relay)).includes('"limiter":{"ok":false,"detail":"Redis answers'),
  );
  expect(isLogged(relay, 'NOPERM this user has no permissions')).toBe(true);
  expect((await relay.get('/readyz')).status).toBe(200);
  await operator.call('ACL', 'SETUSER', 'relay', '+@all');
  await relay.untilSettled();
  expect(await checks(relay)).toContain('"limiter":{"ok":true}');
});

it('the start fails if the database of the limiter does not exist', async () => {
  const env = { RATE_LIMIT_REDIS_URL: `redis://127.0.0.1:${redis.port}/20` };
  await expect(startRelay({ env })).rejects.toThrow(
    'RATE_LIMIT_REDIS_URL: the server does not have database 20 of RATE_LIMIT_REDIS_URL',
  );
});

it("a relay of another Klaviyo account does not start on a prefix in use, and reads its key's account from Klaviyo", async () => {
  const env = { STORE: 'redis', REDIS_URL: url() };
  const relay = await start({ ...env, KLAVIYO_API_KEY: 'pk_of_production' });
  expect((await post(relay)).status).toBe(202);
  const held = (): Promise<unknown> => operator.call('HVALS', '{klaviyo-relay}:account');
  await relay.until('its account is known', async () => String(await held()) === 'SNDBOX');
  await operator.call('DEL', '{klaviyo-relay}:account');
  await operator.call('HSET', '{klaviyo-relay}:account', 'another', 'OTHER1');
  await expect(startRelay({ env: { ...env, KLAVIYO_API_KEY: 'pk_of_staging' } })).rejects.toThrow(
    'belongs to the Klaviyo account OTHER1; and KLAVIYO_API_KEY is of SNDBOX',
  );
  await operator.call('DEL', '{klaviyo-relay}:account');
});
