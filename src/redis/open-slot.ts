import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { RedisHost } from './address.js';
import { sendCommand, type SlotOptions } from './node.js';

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
