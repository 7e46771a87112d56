import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import type { RedisConnection } from '../../src/redis/connection.js';
import { startRedis, type RedisServer } from '../support/redis-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let redis: RedisServer;
let operator: RedisConnection;
let relay: RelayUnderTest;
beforeEach(async () => {
  redis = await startRedis();
  operator = createRedisConnection({
    address: parseRedisUrl(redis.url),
    clock: systemClock,
    timeoutMs: 2000,
  });
  await operator.untilUp(2000);
  relay = await startRelay({
    env: { STORE: 'redis', REDIS_URL: redis.url, REDIS_KEY_PREFIX: 'torn' },
  });
});
afterEach(async () => {
  await relay.stop();
  await operator.close();
  await redis.close();
});

const post = (name: string) =>
  relay.post('/v1/events', { event_name: name, distinct_id: 'd', insert_id: name });
const meta = '{torn}:meta';
const ask = async (...words: [string, ...string[]]): Promise<string> =>
  String(await operator.call(...words));
const isUp = async (): Promise<boolean> => (await relay.get('/readyz')).status === 200;
const runId = async (): Promise<string> => /run_id:(\w+)/.exec(await ask('INFO'))?.[1] ?? '';
const isRewritten = async (): Promise<boolean> =>
  operator.isUp() && (await ask('HGET', meta, 'rewrittenRun')) === (await runId());

/** The first half of what a server writes to its file for a script that appends this event. */
function tear(number: number): void {
  const toText = (...words: string[]): string =>
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
  const m = `${relay.clock.now()} ${relay.clock.now()} etorn`;
  const half = [
    toText('MULTI'),
    toText('XADD', '{torn}:events:queue', `${number}-0`, 'm', m, 'p', '{}'),
    toText('HINCRBY', '{torn}:events:stats', 'seq', '1').slice(0, -9),
  ];
  const directory = join(redis.directory, 'appendonlydir');
  const [newest] = readdirSync(directory)
    .filter((name) => name.endsWith('.incr.aof'))
    .sort()
    .reverse();
  appendFileSync(join(directory, newest ?? ''), half.join(''));
}

async function restart(): Promise<void> {
  await redis.start();
  await operator.untilUp(5000);
  await relay.until('the relay takes events again', isUp);
}

it('an event that is acknowledged after the file of a Redis server was torn survives the next end of the server', async () => {
  await relay.post('/v1/lanes/events/pause', {});
  expect((await post('before')).status).toBe(202);
  await redis.kill();
  tear(2);
  await restart();
  const { status, body } = await post('after');
  expect(status).toBe(202);
  expect(body.id).toMatch(/_2$/);
  await relay.until('the file is rewritten', isRewritten);
  await redis.kill();
  await restart();
  await relay.post('/v1/lanes/events/resume', {});
  await relay.untilSettled();
  expect(relay.sandbox.state().events.map(({ uniqueId }) => uniqueId)).toEqual(['before', 'after']);
}, 30_000);

it('the relay uses a Redis that does not permit BGREWRITEAOF, and logs the consequence', async () => {
  await relay.until('the file is rewritten', isRewritten);
  await ask('ACL', 'SETUSER', 'default', '-bgrewriteaof');
  await ask('HDEL', meta, 'rewrittenRun');
  await relay.until('it is said', () =>
    relay.logged.some((line) => /"level":40.*append-only file is not rewritten/.test(line)),
  );
  expect((await post('e')).status).toBe(202);
  const reported = relay.logged.filter((line) => line.includes('is not rewritten'));
  expect(reported).toHaveLength(1);
}, 30_000);

it('the relay reads changed settings of a Redis server within two minutes and logs them once', async () => {
  const warnings = () => relay.logged.filter((line) => line.includes('appendonly is no'));
  const changedAt = relay.clock.monotonic();
  await ask('CONFIG', 'SET', 'appendonly', 'no');
  await relay.until('it is said', () => warnings().length > 0);
  expect(relay.clock.monotonic() - changedAt).toBeLessThan(120_000);
  await relay.until('five minutes are over', () => relay.clock.monotonic() - changedAt > 300_000);
  expect(warnings()).toHaveLength(1);
  expect(await relay.app.metrics.registry.metrics()).toContain('\nrelay_store_durable 0\n');
}, 30_000);
