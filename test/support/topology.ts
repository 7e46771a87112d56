import { wait, type Clock } from '../../src/clock.js';
import { UnavailableError } from '../../src/redis/connection.js';
import { startCluster, type ClusterNode, type RedisCluster } from './redis-cluster.js';
import { startSentinels, type SentinelSet, type ServerNode } from './redis-sentinels.js';

/** Redis servers of which one at a time holds the buffer, with replicas that can replace it. */
export type Topology = {
  readonly kind: 'cluster' | 'sentinels';
  readonly url: string;
  readonly nodes: readonly ServerNode[];
  /** The server that holds the buffer; null while the servers do not agree. */
  owner(): Promise<ServerNode | null>;
  replicasOf(owner: ServerNode): Promise<readonly ServerNode[]>;
  /** Starts a planned failover. */
  startFailover(): Promise<void>;
  /** Returns true if the owner has all of its replicas and all servers agree. */
  isWhole(): Promise<boolean>;
  /** The cluster, whose nodes move a slot; null with sentinels. */
  readonly cluster: RedisCluster | null;
  close(): Promise<void>;
};

export async function startTopology(kind: Topology['kind'], key: string): Promise<Topology> {
  return kind === 'cluster'
    ? toClusterTopology(await startCluster(), key)
    : toSentinelTopology(await startSentinels({ sentinels: 3, replicas: 2, downAfterMs: 1000 }));
}

function toClusterTopology(cluster: RedisCluster, key: string): Topology {
  const owner = async (): Promise<ClusterNode | null> =>
    cluster.ownerOf(key).catch((error: unknown) => {
      if (error instanceof Error && error.message === 'the nodes do not agree') return null;
      throw error;
    });
  return {
    kind: 'cluster',
    url: cluster.url,
    nodes: cluster.nodes,
    cluster,
    owner,
    replicasOf: (of) => findReplicas(of, cluster.nodes),
    async startFailover() {
      const from = await owner();
      const [replica] = from === null ? [] : await findReplicas(from, cluster.nodes);
      await replica?.connection.call('CLUSTER', 'FAILOVER');
    },
    async isWhole() {
      const infos = await Promise.all(
        cluster.nodes.map(({ connection }) => getReplicationInfo(connection)),
      );
      const states = await Promise.all(
        cluster.nodes.map(async ({ connection }) =>
          String(await connection.call('CLUSTER', 'INFO')),
        ),
      );
      const primaries = infos.filter((info) => info.includes('role:master'));
      return (
        primaries.length === 3 &&
        states.every((state) => state.includes('cluster_state:ok')) &&
        primaries.every((info) => countOnline(info) === 1) &&
        (await owner()) !== null
      );
    },
    close: () => cluster.close(),
  };
}

function toSentinelTopology(set: SentinelSet): Topology {
  const owner = async (): Promise<ServerNode | null> => {
    const responses = await Promise.all(
      set.sentinels.map(async ({ connection }) =>
        String(await connection.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')),
      ),
    );
    const port = responses[0]?.split(',')[1];
    if (responses.some((response) => response !== responses[0])) return null;
    return set.nodes.find(({ server }) => String(server.port) === port) ?? null;
  };
  return {
    kind: 'sentinels',
    url: set.url,
    nodes: set.nodes,
    cluster: null,
    owner,
    replicasOf: (of) => findReplicas(of, set.nodes),
    async startFailover() {
      await set.sentinels[0]?.connection.call('SENTINEL', 'FAILOVER', 'main');
    },
    async isWhole() {
      const primary = await owner();
      if (
        primary === null ||
        countOnline(await getReplicationInfo(primary.connection)) !== set.nodes.length - 1
      )
        return false;
      for (const { connection } of set.sentinels) {
        const sentinelStates = [
          await connection.call('SENTINEL', 'MASTER', 'main'),
          await connection.call('SENTINEL', 'REPLICAS', 'main'),
        ];
        if (/s_down|o_down|failover_in_progress|disconnected/.test(String(sentinelStates)))
          return false;
      }
      return true;
    },
    close: () => set.close(),
  };
}

async function findReplicas(
  { server }: ServerNode,
  nodes: readonly ServerNode[],
): Promise<readonly ServerNode[]> {
  const found: ServerNode[] = [];
  for (const node of nodes) {
    if (!node.connection.isUp()) continue;
    if ((await getReplicationInfo(node.connection)).includes(`master_port:${server.port}\r`))
      found.push(node);
  }
  return found;
}

const getReplicationInfo = async (connection: ServerNode['connection']): Promise<string> =>
  String(await connection.call('INFO', 'replication'));

const countOnline = (info: string): number => info.match(/state=online/g)?.length ?? 0;

export type PollOptions = { readonly what: string; readonly clock: Clock; readonly maxMs: number };

/** Polls ten times a second until the condition holds. An unavailable server counts as "not yet". */
export async function pollUntil(
  { what, clock, maxMs }: PollOptions,
  look: () => Promise<boolean>,
): Promise<void> {
  const end = clock.monotonic() + maxMs;
  while (clock.monotonic() < end) {
    const isSo = await look().catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) throw error;
      return false;
    });
    if (isSo) return;
    await wait(clock, 100);
  }
  throw new Error(`not within ${maxMs / 1000} s: ${what}`);
}
