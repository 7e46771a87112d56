import { settlePromises } from './manual-clock.js';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import { UnavailableError, type RedisConnection } from '../../src/redis/connection.js';
import { findFreePort, startRedis, type RedisServer } from './redis-server.js';

export type ClusterNode = {
  readonly server: RedisServer;
  readonly connection: RedisConnection;
  readonly id: string;
};

/** Three primaries with one replica each, on loopback. A node that is silent for two seconds counts as failed. */
export type RedisCluster = {
  readonly url: string;
  readonly nodes: readonly ClusterNode[];
  /** The primary that owns the slot of a key, by the majority of nodes. */
  ownerOf(key: string): Promise<ClusterNode>;
  /** Returns another primary. */
  anotherPrimary(than: ClusterNode): Promise<ClusterNode>;
  /** Starts a planned failover of that node and waits for its end. */
  failOver(owner: ClusterNode): Promise<void>;
  /** Resolves once all replicas have the offset of their primaries. */
  untilReplicated(): Promise<void>;
  close(): Promise<void>;
};

const primaryCount = 3;
const slotCount = 16_384;
const manualFailoverMs = 6000;

export async function startCluster(): Promise<RedisCluster> {
  const nodes = await Promise.all(Array.from({ length: 2 * primaryCount }, startNode));
  const primaries = nodes.slice(0, primaryCount);
  for (const [place, { connection }] of primaries.entries()) {
    const [from, to] = [place, place + 1].map((at) => Math.floor((at * slotCount) / primaryCount));
    await connection.call('CLUSTER', 'ADDSLOTSRANGE', from ?? 0, (to ?? slotCount) - 1);
    // Distinct epochs, as redis-cli assigns them.
    await connection.call('CLUSTER', 'SET-CONFIG-EPOCH', place + 1);
  }
  const [first, ...others] = nodes;
  if (first === undefined) throw new Error('the cluster has no node');
  for (const { server, busPort } of others)
    await first.connection.call('CLUSTER', 'MEET', '127.0.0.1', server.port, busPort);
  await untilTrue('all nodes have met', () => hasAll(nodes, 'cluster_known_nodes:6'));
  for (const [place, { connection }] of nodes.slice(primaryCount).entries())
    await connection.call('CLUSTER', 'REPLICATE', primaries[place]?.id ?? '');
  await untilTrue('the cluster is ready', () => hasAll(nodes, 'cluster_state:ok'));

  const cluster: RedisCluster = {
    url: `redis+cluster://${primaries.map(({ server }) => `127.0.0.1:${server.port}`).join(',')}`,
    nodes,
    async ownerOf(key) {
      const votes = await Promise.all(
        nodes.map(({ connection }) => findSlotOwner(connection, key)),
      );
      const ids = votes.filter((id) => id !== null);
      const isMost = (id: string): boolean =>
        2 * ids.filter((each) => each === id).length > ids.length;
      const owner = nodes.find(({ id }) => isMost(id));
      if (owner === undefined) throw new Error('the nodes do not agree');
      return owner;
    },
    async anotherPrimary(than) {
      for (const node of nodes) {
        if (node === than || !node.connection.isUp()) continue;
        if (String(await node.connection.call('ROLE')).startsWith('master')) return node;
      }
      throw new Error('there is no other primary');
    },
    async failOver(owner) {
      await cluster.untilReplicated();
      let requestedAt = -Infinity;
      await untilTrue('a replica is the primary', async () => {
        if (!String(await owner.connection.call('ROLE')).startsWith('master')) return true;
        // A replica gives up after five seconds; a request before that would restart the failover.
        if (systemClock.monotonic() - requestedAt < manualFailoverMs) return false;
        for (const { connection } of nodes) {
          if (!connection.isUp()) continue;
          const info = String(await connection.call('INFO', 'replication'));
          if (!info.includes(`master_port:${owner.server.port}\r`)) continue;
          await connection.call('CLUSTER', 'FAILOVER');
          requestedAt = systemClock.monotonic();
          return false;
        }
        return false;
      });
    },
    untilReplicated: () =>
      untilTrue('the replicas are up to date', async () => {
        for (const { connection } of nodes) {
          if (!connection.isUp()) continue;
          const info = String(await connection.call('INFO', 'replication'));
          if (!info.includes('role:master')) continue;
          const offset = /master_repl_offset:(\d+)/.exec(info)?.[1] ?? '';
          if (!info.includes(`state=online,offset=${offset},`)) return false;
        }
        return true;
      }),
    async close() {
      for (const { connection, server } of nodes) {
        await connection.close();
        await server.close();
      }
    },
  };
  await cluster.untilReplicated();
  return cluster;
}

async function startNode(): Promise<ClusterNode & { readonly busPort: number }> {
  const busPort = await findFreePort();
  const server = await startRedis({
    settings: {
      'cluster-enabled': 'yes',
      'cluster-port': String(busPort),
      'cluster-announce-ip': '127.0.0.1',
      'cluster-node-timeout': '2000',
      // A replica that returns gets its copy at once.
      'repl-diskless-sync-delay': '0',
      appendfsync: 'no',
    },
  });
  const connection = createRedisConnection({
    address: parseRedisUrl(server.url),
    clock: systemClock,
    timeoutMs: 1000,
  });
  await connection.untilUp(5000);
  return { server, connection, busPort, id: String(await connection.call('CLUSTER', 'MYID')) };
}

async function hasAll(nodes: readonly ClusterNode[], words: string): Promise<boolean> {
  const infos = await Promise.all(
    nodes.map(({ connection }) => connection.call('CLUSTER', 'INFO')),
  );
  return infos.every((info) => String(info).includes(words));
}

async function findSlotOwner(connection: RedisConnection, key: string): Promise<string | null> {
  if (!connection.isUp()) return null;
  try {
    const slot = Number(await connection.call('CLUSTER', 'KEYSLOT', key));
    const nodes = String(await connection.call('CLUSTER', 'NODES')).split('\n');
    const owner = nodes.find((line) =>
      line
        .split(' ')
        .slice(8)
        .some((range) => {
          const [from = NaN, to = from] = range.split('-').map(Number);
          return from <= slot && slot <= to;
        }),
    );
    return owner?.split(' ')[0] ?? null;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return null;
  }
}

/** Polls until the condition holds, for one minute at most. */
export async function untilTrue(what: string, look: () => Promise<boolean>): Promise<void> {
  const end = systemClock.monotonic() + 60_000;
  while (systemClock.monotonic() < end) {
    const isSo = await look().catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) throw error;
      return false;
    });
    if (isSo) return;
    // Let the sockets run.
    await settlePromises(1);
  }
  throw new Error(`never came true: ${what}`);
}
