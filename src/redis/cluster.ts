import { Redis, type RedisOptions } from 'ioredis';
import { z } from 'zod';
import type { RedisHost } from './address.js';

export type SlotLocator = {
  /** Resolves with the primary that owns the slot. The first call, and each call after `suspect`, rejects if keys of the slot are on two nodes. */
  readonly locate: () => Promise<RedisHost>;
  /** A node has answered that it has not all of the keys. */
  readonly suspect: () => void;
};

/** Nodes asked at once. */
const maxAsked = 16;

/**
 * Of a cluster, the primary that has our one slot. A plain connection to it takes the place of ioredis'
 * Cluster, which throws in a timer where one of its nodes has no connection, emits `ready` only once, and
 * follows a redirection to a node where a script would begin another, empty buffer.
 *
 * The answer is what most nodes name: one that is cut off from the others goes on to name the owner of before.
 */
export function createSlotLocator(options: SlotOptions): SlotLocator {
  let known = options.seeds;
  let maybeSplit = true;
  return {
    async locate() {
      const { owner, nodes } = await findMap(known, options);
      // Nodes that are gone fall out once others name their successors; the seeds stay.
      known = unique([owner, ...nodes, ...options.seeds]).slice(0, maxAsked);
      if (maybeSplit) {
        const why = await findOpenSlot(owner, options);
        if (why !== null) throw new Error(`the keys may be on two nodes of the cluster: ${why}`);
        maybeSplit = false;
      }
      return owner;
    },
    suspect() {
      maybeSplit = true;
    },
  };
}

type SlotMap = { readonly owner: RedisHost; readonly nodes: readonly RedisHost[] };

/** Rejects where no node names an owner. A node that hangs is waited for only while there is no majority. */
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
    // A node that does not know its own address, as before it met others, leaves it out.
    const toHost = ([name, port]: z.infer<typeof nodeSchema>): RedisHost => {
      return { host: name === null || name === '' || name === '?' ? host.host : name, port };
    };
    const range = ranges.find(([first, last]) => first <= slot && slot <= last);
    if (range === undefined) throw new Error(`no node of the cluster has slot ${slot}`);
    const nodes = ranges.flatMap(([, , ...all]) => all.map(toHost));
    return { owner: toHost(range[2]), nodes: unique(nodes) };
  });
}

const toError = (error: unknown): Error =>
  error instanceof Error ? error : new Error(String(error));

const toName = ({ host, port }: RedisHost): string => `${host}:${port}`;

const unique = (hosts: readonly RedisHost[]): readonly RedisHost[] => [
  ...new Map(hosts.map((host) => [toName(host), host])).values(),
];

/**
 * Why the slot's owner may not have all keys of it; null where nothing shows that. A move that was broken
 * off leaves some keys at the target: an owner that took the slot back answers for those alone that it
 * has, and to the scripts the others look lost. Nor does a replica that takes the owner's place know of
 * a move. Primaries that do not answer are taken to have none, and so are all where the user may not ask.
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
      const what = await lookAt(redis, slot);
      return what && `${host}:${port} ${what}`;
    }),
  );
  const found = (await Promise.allSettled(looks)).map((each) =>
    each.status === 'fulfilled' ? each.value : null,
  );
  return found.find((why) => why !== null) ?? null;
}

/** From the lines of CLUSTER NODES: id, address, flags, and so on; slots from the ninth word on. */
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

/** What shows that it has a part of the slot's keys; null where nothing does. */
async function lookAt(redis: Redis, slot: number): Promise<string | null> {
  const nodes = z.string().parse(await redis.call('CLUSTER', 'NODES'));
  const own = nodes.split('\n').find((line) => line.includes('myself')) ?? '';
  const places = own.split(' ').slice(8);
  if (places.some((each) => each.startsWith(`[${slot}->-`))) return `moves slot ${slot} away`;
  const isOwner = places.some((range) => {
    const [first = NaN, last = first] = range.split('-').map(Number);
    return first <= slot && slot <= last;
  });
  if (isOwner) return null;
  const strays = z.int().parse(await redis.cluster('COUNTKEYSINSLOT', slot));
  return strays > 0 ? `has keys of slot ${slot}, and is not its owner` : null;
}

export type SlotOptions = {
  /** Nodes to begin with. */
  readonly seeds: readonly RedisHost[];
  /** All keys have the hash tag of this one, so that one node has all of them. */
  readonly key: string;
  /** For a connection that asks a node where the slot is. */
  readonly client: Omit<RedisOptions, 'replyMapping' | 'protocol'>;
};

/** Over a connection of its own. */
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
