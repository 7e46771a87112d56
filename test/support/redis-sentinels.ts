import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import { parseRedisUrl } from '../../src/redis/address.js';
import { createRedisConnection } from '../../src/redis/create-connection.js';
import type { RedisConnection } from '../../src/redis/connection.js';
import { startRedis, type RedisServer } from './redis-server.js';
import { untilTrue } from './redis-cluster.js';

export type ServerNode = { readonly server: RedisServer; readonly connection: RedisConnection };

/** A primary, replicas that follow it, and sentinels that watch it under the name `main`. */
export type SentinelSet = {
  readonly url: string;
  /** The first is the primary at the start. */
  readonly nodes: readonly ServerNode[];
  readonly sentinels: readonly ServerNode[];
  close(): Promise<void>;
};

export type SentinelSetOptions = {
  readonly sentinels: number;
  readonly replicas: number;
  /** A server that is silent for this long counts as down. */
  readonly downAfterMs?: number;
  /** Settings of the servers. */
  readonly settings?: Readonly<Record<string, string>>;
};

export async function startSentinels(options: SentinelSetOptions): Promise<SentinelSet> {
  const { downAfterMs = 500 } = options;
  // A replica that returns gets its copy at once.
  const settings = { 'repl-diskless-sync-delay': '0', ...options.settings };
  const primary = await startNode({ settings });
  const follow = { ...settings, replicaof: `127.0.0.1 ${primary.server.port}` };
  const replicas = await Promise.all(
    Array.from({ length: options.replicas }, () => startNode({ settings: follow })),
  );
  for (const { connection } of replicas) {
    await untilTrue('the replica is connected to its primary', async () =>
      String(await connection.call('INFO', 'replication')).includes('master_link_status:up'),
    );
  }
  const directory = mkdtempSync(join(tmpdir(), 'relay-sentinel-'));
  const quorum = Math.ceil(options.sentinels / 2);
  const config = [
    `sentinel monitor main 127.0.0.1 ${primary.server.port} ${quorum}`,
    `sentinel down-after-milliseconds main ${downAfterMs}`,
    'sentinel failover-timeout main 3000',
  ].join('\n');
  const sentinels: ServerNode[] = [];
  for (let number = 0; number < options.sentinels; number++) {
    const path = join(directory, `sentinel-${number}.conf`);
    writeFileSync(path, `${config}\n`);
    sentinels.push(await startNode({ config: path }));
  }
  const words = `slaves=${options.replicas},sentinels=${options.sentinels}`;
  for (const { connection } of sentinels) {
    await untilTrue('the sentinel has found the replicas and the other sentinels', async () =>
      String(await connection.call('INFO', 'sentinel')).includes(words),
    );
  }
  const places = sentinels.map(({ server }) => `127.0.0.1:${server.port}`);
  return {
    url: `redis+sentinel://${places.join(',')}/main/0`,
    nodes: [primary, ...replicas],
    sentinels,
    async close() {
      for (const { connection, server } of [...sentinels, primary, ...replicas]) {
        await connection.close();
        await server.close();
      }
      rmSync(directory, { recursive: true });
    },
  };
}

async function startNode(options: Parameters<typeof startRedis>[0]): Promise<ServerNode> {
  const server = await startRedis(options);
  const connection = createRedisConnection({
    address: parseRedisUrl(server.url),
    clock: systemClock,
    timeoutMs: 1000,
  });
  await connection.untilUp(5000);
  return { server, connection };
}
