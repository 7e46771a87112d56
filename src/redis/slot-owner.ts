import { z } from 'zod';
import type { RedisHost } from './address.js';
import { sendCommand, type SlotOptions } from './node.js';
import { findOpenSlot } from './open-slot.js';

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
