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

describe('a Redis cluster', () => {
  it('has all keys of an account in one slot', async () => {
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
    await untilTrue('the cluster is ready', async () =>
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

describe('a connection through Sentinel', () => {
  /** Starts a primary, a replica of it, and `count` sentinels that monitor both. */
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
    const replicaConnection = connection(replica.url);
    await replicaConnection.untilUp(5000);
    await untilTrue('the replica follows', async () =>
      String(await replicaConnection.call('INFO', 'replication')).includes('master_link_status:up'),
    );
    for (const sentinel of sentinels) {
      const sentinelConnection = connection(sentinel.url);
      await sentinelConnection.untilUp(5000);
      await untilTrue('the sentinel has found the replica and the other sentinels', async () =>
        String(await sentinelConnection.call('INFO', 'sentinel')).includes(
          `slaves=1,sentinels=${count}`,
        ),
      );
      await sentinelConnection.close();
    }
    const url = `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/main/0`;
    return { primary, sentinels, replicaConnection, url };
  }

  it('leads to the primary, and after a failover to the new one', async () => {
    const { primary, replicaConnection, url } = await startAll(1);
    const viaSentinel = connection(url, 500);
    expect(await viaSentinel.untilUp(5000)).toBe(true);
    await viaSentinel.call('SET', 'kept', 'yes');
    await untilTrue(
      'the replica has it',
      async () => String(await replicaConnection.call('GET', 'kept')) === 'yes',
    );
    await primary.kill();
    await untilTrue('writes are accepted again', async () => {
      await viaSentinel.untilUp(1000);
      return String(await viaSentinel.call('SET', 'after', '1')) === 'OK';
    });
    expect(String(await viaSentinel.call('GET', 'kept'))).toBe('yes');
    expect(String(await replicaConnection.call('ROLE'))).toContain('master');
    await viaSentinel.close();
    await replicaConnection.close();
  }, 60_000);

  it('writes nothing to the old primary once there is a new one', async () => {
    const { sentinels, replicaConnection, url } = await startAll(3);
    const viaSentinel = connection(url, 500);
    expect(await viaSentinel.untilUp(5000)).toBe(true);
    const kept: string[] = [];
    let after = 0;
    const write = async (): Promise<boolean> => {
      const name = `n${kept.length}`;
      await viaSentinel.call('SET', name, '1');
      kept.push(name);
      const isNew = String(await replicaConnection.call('ROLE')).startsWith('master');
      if (isNew) after++;
      return after > 20;
    };
    const sentinelConnection = connection(sentinels[0]!.url);
    await sentinelConnection.untilUp(5000);
    await untilTrue('some keys are written', async () => {
      await write();
      return kept.length > 100;
    });
    await sentinelConnection.call('SENTINEL', 'FAILOVER', 'main');
    await untilTrue('the new primary is written to', write);
    expect(Number(await replicaConnection.call('EXISTS', ...(kept as [string])))).toBe(kept.length);
    for (const one of [sentinelConnection, viaSentinel, replicaConnection]) await one.close();
  }, 60_000);

  it('is not used within seconds if most sentinels stop responding', async () => {
    const { sentinels, replicaConnection, url } = await startAll(3);
    const viaSentinel = connection(url, 500);
    expect(await viaSentinel.untilUp(5000)).toBe(true);
    sentinels[0]!.freeze();
    const from = systemClock.monotonic();
    await untilTrue('two responding sentinels are enough', async () => {
      await viaSentinel.call('SET', 'a', '1');
      return systemClock.monotonic() - from > 8000;
    });
    sentinels[1]!.freeze();
    await untilTrue('the connection is not used any more', () =>
      Promise.resolve(!viaSentinel.isUp()),
    );
    expect(viaSentinel.failure()?.why).toMatch(/1 of 3 answer/);
    for (const one of sentinels) one.thaw();
    await untilTrue('the connection is used again', () => viaSentinel.untilUp(1000));
    for (const one of [viaSentinel, replicaConnection]) await one.close();
  }, 60_000);

  /** Starts a sentinel that monitors the primary at `port` with this configuration epoch, and no other sentinel. */
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

  it('follows the sentinel with the newest configuration, even if most have an older one', async () => {
    const [before, next] = [await start(), await start()];
    const sentinels = [
      await startAlone(before.port, 1),
      await startAlone(next.port, 5),
      await startAlone(before.port, 1),
    ];
    const viaSentinel = connection(toUrl(sentinels));
    expect(await viaSentinel.untilUp(5000)).toBe(true);
    await viaSentinel.call('SET', 'written', '1');
    const replicaConnection = connection(next.url);
    await replicaConnection.untilUp(5000);
    expect(String(await replicaConnection.call('GET', 'written'))).toBe('1');
    for (const one of [viaSentinel, replicaConnection]) await one.close();
  }, 60_000);

  it('is not used while the named server is a replica', async () => {
    const primary = await start();
    const replica = await start({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
    const viaSentinel = connection(toUrl([await startAlone(replica.port, 1)]));
    await untilTrue('the connection has found a replica', () =>
      Promise.resolve((viaSentinel.failure()?.why ?? '').includes('is a slave, not the primary')),
    );
    expect(viaSentinel.isUp()).toBe(false);
    const replicaConnection = connection(replica.url);
    await replicaConnection.untilUp(5000);
    await replicaConnection.call('REPLICAOF', 'NO', 'ONE');
    await untilTrue('the connection is used', () => viaSentinel.untilUp(1000));
    for (const one of [viaSentinel, replicaConnection]) await one.close();
  }, 60_000);

  it('may use a password for the sentinels that differs from that of Redis', async () => {
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
    const withoutPassword = createRedisConnection(options);
    await untilTrue('the password is rejected', () =>
      Promise.resolve(/sentinels? .*refuse/.test(withoutPassword.failure()?.why ?? '')),
    );
    await withoutPassword.close();
    const viaSentinel = createRedisConnection({
      ...options,
      sentinelAuth: { password: 'of-sentinel' },
    });
    expect(await viaSentinel.untilUp(5000)).toBe(true);
    expect(String(await viaSentinel.call('SET', 'a', '1'))).toBe('OK');
    await viaSentinel.close();
  }, 60_000);
});
