import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.js';
import { parseRedisUrl } from '../../../src/redis/address.js';
import { createRedisConnection } from '../../../src/redis/create-connection.js';
import type { RedisConnection } from '../../../src/redis/connection.js';
import { ReplicatedWrites } from '../../../src/redis/replicated-writes.js';
import { ack, aDelivery, anEvent, settledAs, someEvents } from '../../support/builders.js';
import { untilTrue } from '../../support/redis-cluster.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, appendIds, claim } from '../contract/harness.js';
import { openTestRedis, type RedisUnderTest } from './under-test.js';

const timeoutMs = 1000;
const unavailable = { reason: 'unavailable', retryAfterMs: 1000 };

let primary: RedisServer;
let replica: RedisServer;
const opened: RedisUnderTest[] = [];
const links: RedisConnection[] = [];

beforeEach(async () => {
  primary = await startRedis({ settings: { 'repl-diskless-sync-delay': '0' } });
  replica = await startRedis({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
  const connection = await connect(primary);
  await connection.call('SET', 'a', '1');
  expect(await connection.call('WAIT', 1, 10_000)).toBe(1);
});
afterEach(async () => {
  for (const under of opened.splice(0)) {
    expect(under.faults).toEqual([]);
    await under.close();
  }
  for (const connection of links.splice(0)) await connection.close();
  await replica.close();
  await primary.close();
});

async function connect({ url }: RedisServer): Promise<RedisConnection> {
  const connection = createRedisConnection({
    address: parseRedisUrl(url),
    clock: systemClock,
    timeoutMs: 2000,
  });
  links.push(connection);
  await connection.untilUp(5000);
  return connection;
}

/** A store that answers once so many replicas have what is accepted. */
async function open(waitReplicas: number, server = primary): Promise<RedisUnderTest> {
  const under = await openTestRedis({
    ...{ url: server.url, timeoutMs, waitReplicas, prefix: '{replicas}' },
  });
  opened.push(under);
  return under;
}

/** Nothing that is written from now on reaches the replica. */
async function cutOff(): Promise<void> {
  await (await connect(replica)).call('REPLICAOF', '127.0.0.1', 1);
}

/** The primary is gone for good, and the replica takes its place. */
async function failOver(): Promise<RedisUnderTest> {
  await primary.kill();
  await (await connect(replica)).call('REPLICAOF', 'NO', 'ONE');
  return open(0, replica);
}

const untilTaken = (under: RedisUnderTest): Promise<void> =>
  untilTrue('it takes posts again', async () => {
    await under.session.heartbeat();
    return under.store.backpressure() === null;
  });

it('without a wait a failover loses what was accepted while the replica was cut off', async () => {
  const under = await open(0);
  await cutOff();
  await append(under.store, someEvents(3));
  const after = await failOver();
  expect(after.store.depth('events').count).toBe(0);
});

it('with a wait for a replica a failover loses nothing that was accepted', async () => {
  const under = await open(1);
  const ids = await appendIds(under.store, someEvents(3));
  await cutOff();
  expect(await under.store.append([anEvent()])).toEqual({ ok: false, backpressure: unavailable });
  const after = await failOver();
  expect((await claim(after.store)).flat().map(({ id }) => id)).toEqual(ids);
});

it('says how many replicas are missing, sends what it holds meanwhile, and goes on by itself', async () => {
  const under = await open(1);
  await append(under.store, someEvents(2));
  replica.freeze();
  await under.store.append([anEvent()]);
  expect(under.store.backpressure()).toEqual(unavailable);
  expect(under.store.outage()).toBe('0 of 1 replicas have what was written within 1000 ms');
  await under.session.heartbeat();
  expect(under.store.backpressure()).toEqual(unavailable);
  const items = await claim(under.store);
  await under.store.settle({
    lane: 'events',
    settled: settledAs(items, ack),
    delivery: aDelivery(),
  });
  expect(items.length).toBeGreaterThanOrEqual(2);
  replica.thaw();
  await untilTaken(under);
  await append(under.store, [anEvent()]);
  expect(under.reported.slice(1)).toEqual([expect.stringContaining('0 of 1 replicas'), null]);
});

it('a repeat of what no replica has yet is not acknowledged either', async () => {
  const under = await open(1);
  const event = anEvent();
  replica.freeze();
  expect(await under.store.append([event])).toEqual({ ok: false, backpressure: unavailable });
  const other = await open(1);
  expect(await other.store.append([event])).toEqual({ ok: false, backpressure: unavailable });
  replica.thaw();
  await untilTaken(other);
  expect(await append(other.store, [event])).toMatchObject([{ duplicate: true }]);
});

it('facts wait for a replica, too', async () => {
  const under = await open(1);
  expect(await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }])).toEqual({
    ok: true,
  });
  replica.freeze();
  const isKept = await under.store.putFacts([{ kind: 'order', key: 'a', value: '2' }]);
  expect(isKept).toEqual({ ok: false, backpressure: unavailable });
});

it('posts that come during a wait wait together, and for no longer than one', async () => {
  const under = await open(1);
  replica.freeze();
  const from = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      for (let turn = 0; turn < index % 5; turn++) await under.connection.call('PING');
      return under.store.append([anEvent()]);
    }),
  );
  expect(new Set(answers.map((each) => each.ok))).toEqual(new Set([false]));
  expect(performance.now() - from).toBeLessThan(5 * timeoutMs);
  expect(under.reported).not.toContainEqual(expect.stringContaining('does not answer'));
});

it('a wait for replicas never holds up a look', async () => {
  const under = await open(1);
  replica.freeze();
  const waiting = under.store.append([anEvent()]);
  let isAnswered = false;
  void waiting.then(() => (isAnswered = true));
  for (let looks = 0; looks < 20; looks++) await under.session.heartbeat();
  expect(isAnswered).toBe(false);
  expect(await waiting).toEqual({ ok: false, backpressure: unavailable });
});

it('a server that knows WAITAOF is asked for what replicas have on disk', async () => {
  const asked: string[] = [];
  const bare = await connect(primary);
  const told = (version: string): RedisConnection => ({
    ...bare,
    call: (command, ...args) =>
      command === 'INFO'
        ? Promise.resolve(Buffer.from(`redis_version:${version}\r\naof_enabled:1\r\n`))
        : bare.call(command, ...args),
    runReplicated: (_script, { command }) => {
      asked.push(command);
      return Promise.resolve(null);
    },
  });
  const script = { name: 'a', lua: 'return 1', sha: '', keys: [] };
  for (const version of ['7.0.15', '7.2.0', '8.0.2']) {
    const writes = new ReplicatedWrites({ connection: told(version), replicas: 1, waitMs: 100 });
    await writes.run(script, '{a}', []);
  }
  expect(asked).toEqual(['WAIT', 'WAITAOF', 'WAITAOF']);
});
