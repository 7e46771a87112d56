import { Redis, type RedisOptions } from 'ioredis';
import { z } from 'zod';
import type { RedisHost } from './address.js';
import { toError } from '../error.js';

export type SlotLocator = {
  /** Resolves with the primary that owns the slot. The first call, and each call after `reportMissingKeys`, rejects if keys of the slot are on two nodes. */
  readonly locate: () => Promise<RedisHost>;
  /** Reports that a node does not have all of the keys. */
  readonly reportMissingKeys: () => void;
};

/** Maximum number of nodes that are asked for the owner at the same time. */
const maxAsked = 16;

/**
 * Finds the primary of a cluster that owns our one slot. A plain connection to this node replaces the Cluster
 * class of ioredis, which throws in a timer if a node has no connection, emits `ready` only once, and follows a
 * redirection to a node where a script would begin another, empty store.
 *
 * The owner is the one that most nodes name: a node that is cut off from the others still names the former owner.
 */
export function createSlotLocator(options: SlotOptions): SlotLocator {
  let known = options.seeds;
  let maybeSplit = true;
  return {
    async locate() {
      const { owner, nodes } = await findMap(known, options);
      // Removed nodes drop out when the others name their successors; the seeds stay.
      known = unique([owner, ...nodes, ...options.seeds]).slice(0, maxAsked);
      if (maybeSplit) {
        const why = await findOpenSlot(owner, options);
        if (why !== null) throw new Error(`the keys may be on two nodes of the cluster: ${why}`);
        maybeSplit = false;
      }
      return owner;
    },
    reportMissingKeys() {
      maybeSplit = true;
    },
  };
}

type SlotMap = { readonly owner: RedisHost; readonly nodes: readonly RedisHost[] };

/** Rejects if no node names an owner. Waits for a hung node only while there is no majority. */
async function findMap(hosts: readonly RedisHost[], options: SlotOptions): Promise<SlotMap> {
  const votes = new Map<string, SlotMap[]>();
  const errors: Error[] = [];
  await new Promise<void>((resolve) => {
    let left = hosts.length;
    for (const host of hosts) {
      askForMap(host, options)
        .then((map) => {
          const name = toName(map.owner);
          const same = [...(votes.get(name) ?? []), map];
          votes.set(name, same);
          if (2 * same.length > hosts.length) resolve();
        })
        .catch((error: unknown) => errors.push(toError(error)))
        .finally(() => {
          if (--left === 0) resolve();
        });
    }
  });
  const [most] = [...votes.values()].sort((a, b) => b.length - a.length);
  if (most?.[0] !== undefined) return most[0];
  throw errors[0] ?? new Error('the cluster has no node');
}

const nodeSchema = z.tuple([z.string().nullable(), z.int()]).rest(z.unknown());
const rangesSchema = z.array(z.tuple([z.int(), z.int(), nodeSchema]).rest(nodeSchema));

function askForMap(host: RedisHost, { key, client }: SlotOptions): Promise<SlotMap> {
  return sendCommand(host, client, async (redis) => {
    const slot = z.int().parse(await redis.cluster('KEYSLOT', key));
    const ranges = rangesSchema.parse(await redis.cluster('SLOTS'));
    // A node that has not met others yet reports no address of its own.
    const toHost = ([name, port]: z.infer<typeof nodeSchema>): RedisHost => {
      return { host: name === null || name === '' || name === '?' ? host.host : name, port };
    };
    const range = ranges.find(([first, last]) => first <= slot && slot <= last);
    if (range === undefined) throw new Error(`no node of the cluster has slot ${slot}`);
    const nodes = ranges.flatMap(([, , ...all]) => all.map(toHost));
    return { owner: toHost(range[2]), nodes: unique(nodes) };
  });
}

const toName = ({ host, port }: RedisHost): string => `${host}:${port}`;

const unique = (hosts: readonly RedisHost[]): readonly RedisHost[] => [
  ...new Map(hosts.map((host) => [toName(host), host])).values(),
];

/**
 * Describes why the slot's owner may lack keys of the slot; null if nothing indicates it. An aborted move leaves
 * some keys at the target: an owner that took the slot back has only the rest, and to the scripts the others
 * look lost. A replica that replaces the owner has no record of a move either. Primaries that do not answer are
 * assumed to have no keys, and so are all if the user may not run CLUSTER NODES.
 */
export async function findOpenSlot(
  owner: RedisHost,
  { key, client }: SlotOptions,
): Promise<string | null> {
  const { slot, primaries } = await sendCommand(owner, client, async (redis) => {
    const nodes = await redis.call('CLUSTER', 'NODES').catch((error: unknown) => {
      if (error instanceof Error && error.name === 'ReplyError') return '';
      throw error;
    });
    return {
      slot: z.int().parse(await redis.cluster('KEYSLOT', key)),
      primaries: toPrimaries(z.string().parse(nodes), owner),
    };
  });
  const looks = primaries.map(({ host, port }) =>
    sendCommand({ host, port }, client, async (redis) => {
      const what = await describeSlotState(redis, slot);
      return what && `${host}:${port} ${what}`;
    }),
  );
  const found = (await Promise.allSettled(looks)).map((each) =>
    each.status === 'fulfilled' ? each.value : null,
  );
  return found.find((why) => why !== null) ?? null;
}

/** Parses the lines of CLUSTER NODES: id, address, flags, and so on; slots from the ninth word on. */
function toPrimaries(nodes: string, owner: RedisHost): readonly RedisHost[] {
  return nodes.split('\n').flatMap((line) => {
    const [, address = '', flags = ''] = line.split(' ');
    const all = flags.split(',');
    if (!all.includes('master') || all.includes('fail') || all.includes('noaddr')) return [];
    if (all.includes('myself')) return [owner];
    const [, host, port, name] = /^(.+):(\d+)@\d+(?:,([^,=]*))?/.exec(address) ?? [];
    if (host === undefined) return [];
    return [{ host: name === undefined || name === '' ? host : name, port: Number(port) }];
  });
}

/** Describes how this node has a part of the slot's keys; null if nothing indicates it. */
async function describeSlotState(redis: Redis, slot: number): Promise<string | null> {
  const nodes = z.string().parse(await redis.call('CLUSTER', 'NODES'));
  const own = nodes.split('\n').find((line) => line.includes('myself')) ?? '';
  const places = own.split(' ').slice(8);
  if (places.some((each) => each.startsWith(`[${slot}->-`))) return `moves slot ${slot} away`;
  const isOwner = places.some((range) => {
    const [first = NaN, last = first] = range.split('-').map(Number);
    return first <= slot && slot <= last;
  });
  if (isOwner) return null;
  const keyCount = z.int().parse(await redis.cluster('COUNTKEYSINSLOT', slot));
  return keyCount > 0 ? `has keys of slot ${slot}, and is not its owner` : null;
}

export type SlotOptions = {
  /** Nodes to ask first. */
  readonly seeds: readonly RedisHost[];
  /** All keys have the same hash tag as this key, so that one node has all of them. */
  readonly key: string;
  /** Options of the connections that ask a node for the owner. */
  readonly client: Omit<RedisOptions, 'replyMapping' | 'protocol'>;
};

/** Runs commands on a connection of their own, and closes it. */
export async function sendCommand<T>(
  host: RedisHost,
  client: SlotOptions['client'],
  make: (redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = new Redis({ ...client, ...host, lazyConnect: true, retryStrategy: () => null });
  const reported: Error[] = [];
  redis.on('error', (error) => reported.push(error));
  try {
    await redis.connect();
    return await make(redis);
  } catch (error) {
    throw reported[0] ?? error;
  } finally {
    redis.disconnect();
  }
}
