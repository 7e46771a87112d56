import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { toAddress } from '../../src/redis/address.js';
import { createLink } from '../../src/redis/create-link.js';
import { UnavailableError, type Link } from '../../src/redis/link.js';
import { ack, aDelivery, bury, retry, settledAs, someEvents } from '../support/builders.js';
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

const link = (url: string, timeoutMs = 2000): Link =>
  createLink({ address: toAddress(url), clock: systemClock, timeoutMs });

/** Asks until the answer is as wanted; each try is a real one. */
async function untilTrue(what: string, look: () => Promise<boolean>): Promise<void> {
  const end = systemClock.monotonic() + 30_000;
  while (systemClock.monotonic() < end) {
    const isSo = await look().catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) throw error;
      return false;
    });
    if (isSo) return;
  }
  throw new Error(`never came true: ${what}`);
}

describe('a cluster', () => {
  it('keeps all names of an account in one slot', async () => {
    const busPort = String(await findFreePort());
    const settings = {
      'cluster-enabled': 'yes',
      'cluster-port': busPort,
      'cluster-announce-ip': '127.0.0.1',
    };
    const node = await start({ settings });
    const single = link(node.url);
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
        ...settledAs([two!], bury()),
        ...settledAs([three!], retry()),
      ],
    });
    expect(await under.store.redrive({}, { dryRun: false })).toBe(1);
    expect(under.store.depth('events').count).toBe(3);
    await under.store.remember([{ key: 'a', value: '1' }]);
    expect(await under.store.recall(['a'])).toEqual(['1']);
    expect(under.faults).toEqual([]);
    await under.close();
  }, 30_000);
});

describe('Sentinel', () => {
  it('names the primary, and after a failover the new one', async () => {
    const primary = await start();
    const replica = await start({ settings: { replicaof: `127.0.0.1 ${primary.port}` } });
    const directory = mkdtempSync(join(tmpdir(), 'relay-sentinel-'));
    directories.push(directory);
    const path = join(directory, 'sentinel.conf');
    writeFileSync(
      path,
      `sentinel monitor main 127.0.0.1 ${primary.port} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n`,
    );
    const sentinel = await start({ config: path });
    const own = link(replica.url);
    await own.untilUp(5000);
    await untilTrue('the replica follows', async () =>
      String(await own.call('INFO', 'replication')).includes('master_link_status:up'),
    );
    const asked = link(sentinel.url);
    await asked.untilUp(5000);
    await untilTrue('Sentinel knows the replica', async () =>
      String(await asked.call('INFO', 'sentinel')).includes('slaves=1'),
    );
    await asked.close();
    const through = link(`redis+sentinel://127.0.0.1:${sentinel.port}/main/0`, 500);
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
});
