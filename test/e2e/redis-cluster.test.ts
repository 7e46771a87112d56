import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { startCluster, untilTrue, type RedisCluster } from '../support/redis-cluster.js';
import { startMove } from '../support/slot-move.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let cluster: RedisCluster;
let relay: RelayUnderTest;
let runs = 0;
beforeAll(async () => {
  cluster = await startCluster();
}, 120_000);
afterAll(() => cluster.close());
beforeEach(async () => {
  relay = await startRelay({
    env: {
      STORE: 'redis',
      REDIS_URL: cluster.url,
      REDIS_KEY_PREFIX: `account-${++runs}`,
      REDIS_TIMEOUT_MS: '500',
    },
  });
  await relay.until('it is ready', isReady);
  await relay.post('/v1/lanes/events/pause', {});
});
afterEach(() => relay.stop());

const key = (): string => `{account-${runs}}:meta`;
const isReady = async (): Promise<boolean> => (await relay.get('/readyz')).status === 200;
const post = async (...names: readonly string[]): Promise<number> => {
  const events = names.map((name) => ({ event_name: 'e', distinct_id: 'd', insert_id: name }));
  return (await relay.post('/v1/events/batch', events)).status;
};
/** Expects that Klaviyo receives exactly the accepted events. */
async function expectRecorded(...names: readonly string[]): Promise<void> {
  await relay.post('/v1/lanes/events/resume', {});
  await relay.untilSettled();
  const recorded = relay.sandbox.state().events.map(({ uniqueId }) => uniqueId);
  expect([...recorded].sort()).toEqual([...names].sort());
}

it('a relay recovers by itself after the node with its slot ended, and delivers every replicated event', async () => {
  expect(await post('a', 'b')).toBe(202);
  await cluster.untilReplicated();
  const owner = await cluster.ownerOf(key());
  await owner.server.kill();
  await relay.until('it sees that', async () => !(await isReady()));
  expect(await post('not taken')).toBe(503);
  await relay.until('another node has taken over', isReady);
  expect(await post('c')).toBe(202);
  const next = await cluster.ownerOf(key());
  expect(next.id).not.toBe(owner.id);
  await relay.until('the file of the new one is rewritten', async () => {
    const [, runId] = /run_id:(\w+)/.exec(String(await next.connection.call('INFO'))) ?? [];
    return String(await next.connection.call('HGET', key(), 'rewrittenRun')) === runId;
  });
  await owner.server.start();
  await expectRecorded('a', 'b', 'c');
}, 120_000);

it('a relay recovers by itself after the node with its slot hung and after that node returns as a replica', async () => {
  expect(await post('a')).toBe(202);
  await cluster.untilReplicated();
  const owner = await cluster.ownerOf(key());
  owner.server.freeze();
  await relay.until('it sees that', async () => !(await isReady()));
  await relay.until('another node has taken over', isReady);
  expect(await post('b')).toBe(202);
  owner.server.thaw();
  await untilTrue('it is a replica', async () =>
    String(await owner.connection.call('ROLE')).startsWith('slave'),
  );
  expect(await post('c')).toBe(202);
  await expectRecorded('a', 'b', 'c');
}, 120_000);

it('a planned failover of the node loses no event', async () => {
  expect(await post('a')).toBe(202);
  const owner = await cluster.ownerOf(key());
  await cluster.failOver(owner);
  await relay.until('it is ready', async () => (await isReady()) && (await post('b')) === 202);
  await expectRecorded('a', 'b');
}, 120_000);

it('a relay with REDIS_WAIT_REPLICAS accepts the first post after a planned failover', async () => {
  const waiting = await startRelay({
    env: {
      STORE: 'redis',
      REDIS_URL: cluster.url,
      REDIS_KEY_PREFIX: `account-${++runs}`,
      REDIS_WAIT_REPLICAS: '1',
    },
  });
  const isAccepted = async (name: string): Promise<boolean> => {
    const event = { event_name: 'e', distinct_id: 'd', insert_id: name };
    return (await waiting.post('/v1/events', event)).status === 202;
  };
  await waiting.until('it takes a post', () => isAccepted('a'));
  const owner = await cluster.ownerOf(key());
  await cluster.failOver(owner);
  await cluster.untilReplicated();
  await waiting.until('it has seen that', () =>
    waiting.logged.some((line) => line.includes('Redis does not take what is written')),
  );
  let count = 0;
  await waiting.until('it is ready, and stays so', async () => {
    count = (await waiting.get('/readyz')).status === 200 ? count + 1 : 0;
    return count === 3;
  });
  expect(await isAccepted('b')).toBe(true);
  await waiting.stop();
}, 120_000);

it('a relay accepts nothing while its slot is moved key by key, and delivers every event afterwards', async () => {
  expect(await post('a', 'b')).toBe(202);
  const from = await cluster.ownerOf(key());
  const to = await cluster.anotherPrimary(from);
  const slot = Number(await from.connection.call('CLUSTER', 'KEYSLOT', key()));
  const epoch = String(await from.connection.call('HGET', key(), 'epoch'));
  await to.connection.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.connection.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  expect(await post('not taken')).toBe(503);
  for (;;) {
    const names = (await from.connection.call(
      'CLUSTER',
      'GETKEYSINSLOT',
      slot,
      5,
    )) as readonly Buffer[];
    if (names.length === 0) break;
    const place = ['127.0.0.1', to.server.port, '', 0, 5000] as const;
    await from.connection.call('MIGRATE', ...place, 'KEYS', ...names.map(String));
    expect(await post('not taken either')).toBe(503);
  }
  for (const { connection } of [to, from])
    await connection.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
  await relay.until('it is ready', isReady);
  expect(await post('c')).toBe(202);
  expect(String(await to.connection.call('HGET', key(), 'epoch'))).toBe(epoch);
  await expectRecorded('a', 'b', 'c');
}, 120_000);

it.each([
  ['the stored envelopes', ['events:queue']],
  ['the sequence numbers', ['meta']],
  ['a whole lane', ['events:queue', 'events:stats']],
  ['the dedupe log', ['seen', 'seen-log']],
] as const)(
  'a relay does not use a slot whose move is reverted while the other node holds %s, and loses no event',
  async (_what, names) => {
    const prefix = `{account-${runs}}`;
    expect(await post('a', 'b')).toBe(202);
    const from = await cluster.ownerOf(key());
    const to = await cluster.anotherPrimary(from);
    const slot = Number(await from.connection.call('CLUSTER', 'KEYSLOT', key()));
    const epoch = String(await from.connection.call('HGET', key(), 'epoch'));
    const move = { from, to, slot, replaces: false };
    await startMove(move);
    await relay.until('it sees that', async () => !(await isReady()));
    const migrate = (source: typeof from, target: typeof from) =>
      source.connection.call(
        ...(['MIGRATE', '127.0.0.1', target.server.port, '', 0, 5000, 'KEYS'] as const),
        ...names.map((name) => `${prefix}:${name}`),
      );
    expect(String(await migrate(from, to))).toBe('OK');
    await from.connection.call('CLUSTER', 'SETSLOT', slot, 'STABLE');
    const where = `127.0.0.1:${to.server.port} has keys of slot ${slot}`;
    let response = '';
    await relay.until('it is ready, or says where the rest is', async () => {
      response = JSON.stringify((await relay.get('/readyz')).body);
      return response.includes(where) || (await isReady());
    });
    expect(response).toContain(where);
    expect(await post('not taken')).toBe(503);
    expect(String(await migrate(to, from))).toBe('OK');
    await to.connection.call('CLUSTER', 'SETSLOT', slot, 'STABLE');
    await relay.until('it is ready', isReady);
    expect(await post('a', 'c')).toBe(202);
    expect(String(await from.connection.call('HGET', key(), 'epoch'))).toBe(epoch);
    await expectRecorded('a', 'b', 'c');
  },
  120_000,
);
