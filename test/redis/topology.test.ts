import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import type { RedisConnection } from '../../src/redis/connection.js';
import { ack, aDelivery, deadLetter, retry, settledAs, someEvents } from '../support/builders.js';
import { untilTrue } from '../support/redis-cluster.js';
import { findFreePort, startRedis, type RedisServer } from '../support/redis-server.js';
import { append, claim } from '../store/contract/harness.js';
import { openTestRedis } from '../store/redis/under-test.js';

const servers: RedisServer[] = [];
const directories: string[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

async function start(options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  servers.push(server);
  return server;
}

const connection = (url: string, timeoutMs = 2000): RedisConnection =>
  createRedisConnection({ address: parseRedisUrl(url), clock: systemClock, timeoutMs });

describe('a cluster', () => {
  it('keeps all names of an account in one slot', async () => {
    const busPort = String(await findFreePort());
    const settings = {
      'cluster-enabled': 'yes',
      'cluster-port': busPort,
      'cluster-announce-ip': '127.0.0.1',
    };
    const node = await start({ settings });
    const single = connection(node.url);
    await single.untilUp(5000);
    await single.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    await untilTrue('the cluster is there', async () =>
      String(await single.call('CLUSTER', 'INFO')).includes('cluster_state:ok'),
    );
    await single.close();
    const url = `redis+cluster://127.0.0.1:${node.port}`;
    const under = await openTestRedis({ url, prefix: '{account-7}' });
    await append(under.store, someEvents(4));
    const [one, two, three] = await claim(under.store);
    await under.store.settle({
      lane: 'events',
      delivery: aDelivery(),
      settled: [
        ...settledAs([one!], ack),
        ...settledAs([two!], deadLetter()),
        ...settledAs([three!], retry()),
      ],
    });
    expect(await under.store.redrive({}, { dryRun: false })).toBe(1);
    expect(under.store.depth('events').count).toBe(3);
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    expect(await under.store.getFacts(['a'])).toEqual(['1']);
    expect(under.faults).toEqual([]);
    await under.close();
  }, 30_000);
});

describe('Sentinel', () => {
  /** A primary, a replica that follows it, and so many sentinels that agree. */
  async function startAll(count: number) {
    const primary = await start();
    const replica = await start({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
    const directory = mkdtempSync(join(tmpdir(), 'relay-sentinel-'));
    directories.push(directory);
    const sentinels: RedisServer[] = [];
    for (let number = 0; number < count; number++) {
      const path = join(directory, `sentinel-${number}.conf`);
      writeFileSync(
        path,
        `sentinel monitor main 127.0.0.1 ${primary.port} ${Math.ceil(count / 2)}\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n`,
      );
      sentinels.push(await start({ config: path }));
    }
    const own = connection(replica.url);
    await own.untilUp(5000);
    await untilTrue('the replica follows', async () =>
      String(await own.call('INFO', 'replication')).includes('master_link_status:up'),
    );
    for (const sentinel of sentinels) {
      const asked = connection(sentinel.url);
      await asked.untilUp(5000);
      await untilTrue('it knows the replica and the others', async () =>
        String(await asked.call('INFO', 'sentinel')).includes(`slaves=1,sentinels=${count}`),
      );
      await asked.close();
    }
    const url = `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/main/0`;
    return { primary, sentinels, own, url };
  }

  it('names the primary, and after a failover the new one', async () => {
    const { primary, own, url } = await startAll(1);
    const through = connection(url, 500);
    expect(await through.untilUp(5000)).toBe(true);
    await through.call('SET', 'kept', 'yes');
    await untilTrue(
      'the replica has it',
      async () => String(await own.call('GET', 'kept')) === 'yes',
    );
    await primary.kill();
    await untilTrue('it can be written to again', async () => {
      await through.untilUp(1000);
      return String(await through.call('SET', 'after', '1')) === 'OK';
    });
    expect(String(await through.call('GET', 'kept'))).toBe('yes');
    expect(String(await own.call('ROLE'))).toContain('master');
    await through.close();
    await own.close();
  }, 60_000);

  it('has nothing written to the primary of before once it makes another one', async () => {
    const { sentinels, own, url } = await startAll(3);
    const through = connection(url, 500);
    expect(await through.untilUp(5000)).toBe(true);
    const kept: string[] = [];
    let after = 0;
    const write = async (): Promise<boolean> => {
      const name = `n${kept.length}`;
      await through.call('SET', name, '1');
      kept.push(name);
      const isNew = String(await own.call('ROLE')).startsWith('master');
      if (isNew) after++;
      return after > 20;
    };
    const asked = connection(sentinels[0]!.url);
    await asked.untilUp(5000);
    await untilTrue('some are written', async () => {
      await write();
      return kept.length > 100;
    });
    await asked.call('SENTINEL', 'FAILOVER', 'main');
    await untilTrue('the new primary is written to', write);
    expect(Number(await own.call('EXISTS', ...(kept as [string])))).toBe(kept.length);
    for (const one of [asked, through, own]) await one.close();
  }, 60_000);

  it('that most of do not answer any more leaves the primary without trust within seconds', async () => {
    const { sentinels, own, url } = await startAll(3);
    const through = connection(url, 500);
    expect(await through.untilUp(5000)).toBe(true);
    sentinels[0]!.freeze();
    const from = systemClock.monotonic();
    await untilTrue('the two that answer are enough', async () => {
      await through.call('SET', 'a', '1');
      return systemClock.monotonic() - from > 8000;
    });
    sentinels[1]!.freeze();
    await untilTrue('it is not used any more', () => Promise.resolve(!through.isUp()));
    expect(through.failure()?.why).toMatch(/1 of 3 answer/);
    for (const one of sentinels) one.thaw();
    await untilTrue('it is used again', () => through.untilUp(1000));
    for (const one of [through, own]) await one.close();
  }, 60_000);

  /** A sentinel that knows no other, and of the primary what is written down for it. */
  async function startAlone(port: number, epoch: number): Promise<RedisServer> {
    const directory = mkdtempSync(join(tmpdir(), 'relay-sentinel-'));
    directories.push(directory);
    const path = join(directory, 'sentinel.conf');
    writeFileSync(
      path,
      `sentinel monitor main 127.0.0.1 ${port} 2\nsentinel config-epoch main ${epoch}\nsentinel down-after-milliseconds main 60000\n`,
    );
    return start({ config: path });
  }
  const toUrl = (sentinels: readonly RedisServer[]): string =>
    `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/main/0`;

  it('that has the newest configuration is believed, however many have an older one', async () => {
    const [before, next] = [await start(), await start()];
    const sentinels = [
      await startAlone(before.port, 1),
      await startAlone(next.port, 5),
      await startAlone(before.port, 1),
    ];
    const through = connection(toUrl(sentinels));
    expect(await through.untilUp(5000)).toBe(true);
    await through.call('SET', 'written', '1');
    const own = connection(next.url);
    await own.untilUp(5000);
    expect(String(await own.call('GET', 'written'))).toBe('1');
    for (const one of [through, own]) await one.close();
  }, 60_000);

  it('that names a replica is not followed before that is a primary', async () => {
    const primary = await start();
    const replica = await start({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
    const through = connection(toUrl([await startAlone(replica.port, 1)]));
    await untilTrue('it has looked', () =>
      Promise.resolve((through.failure()?.why ?? '').includes('is a slave, not the primary')),
    );
    expect(through.isUp()).toBe(false);
    const own = connection(replica.url);
    await own.untilUp(5000);
    await own.call('REPLICAOF', 'NO', 'ONE');
    await untilTrue('it is used', () => through.untilUp(1000));
    for (const one of [through, own]) await one.close();
  }, 60_000);

  it('may have a password of its own, beside that of Redis', async () => {
    const primary = await start({ settings: { requirepass: 'of-redis' } });
    const directory = mkdtempSync(join(tmpdir(), 'relay-sentinel-'));
    directories.push(directory);
    const path = join(directory, 'sentinel.conf');
    writeFileSync(
      path,
      `requirepass of-sentinel\nsentinel monitor main 127.0.0.1 ${primary.port} 1\nsentinel auth-pass main of-redis\n`,
    );
    const sentinel = await start({ config: path });
    const address = parseRedisUrl(`redis+sentinel://:of-redis@127.0.0.1:${sentinel.port}/main/0`);
    const options = { address, clock: systemClock, timeoutMs: 500 };
    const refused = createRedisConnection(options);
    await untilTrue('it is refused', () =>
      Promise.resolve(/sentinels? .*refuse/.test(refused.failure()?.why ?? '')),
    );
    await refused.close();
    const through = createRedisConnection({
      ...options,
      sentinelAuth: { password: 'of-sentinel' },
    });
    expect(await through.untilUp(5000)).toBe(true);
    expect(String(await through.call('SET', 'a', '1'))).toBe('OK');
    await through.close();
  }, 60_000);
});
