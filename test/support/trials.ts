import { systemClock } from '../../src/clock.js';
import type { Fleet } from './fleet.js';
import type { Moments } from './moments.js';
import type { RedisServer } from './redis-server.js';
import { below, pick, type Random } from './seeded-load.js';

/**
 * What befalls relays that share a Redis: one is killed and another started; one is added, up to
 * four; one is told to stop; one stands still for longer than its lease; Redis is killed and
 * started again at once, or after everybody's lease is over.
 */
export const kinds = ['kill', 'add', 'term', 'freeze', 'redis', 'outage'] as const;
export type Trial = (typeof kinds)[number];

export type TrialWorld = {
  readonly random: Random;
  readonly leaseMs: number;
  readonly redis: RedisServer;
  readonly fleet: Fleet;
  readonly moments: Moments;
};

const often: readonly Trial[] = [
  ...(['kill', 'kill', 'kill', 'kill', 'kill', 'add', 'term'] as const),
  ...(['freeze', 'freeze', 'freeze', 'redis', 'redis', 'outage'] as const),
];

/** Each of them at least once where there are enough, in any order. */
export function drawTrials(random: Random, count: number): readonly Trial[] {
  const drawn: Trial[] = [...kinds];
  while (drawn.length < count) drawn.push(pick(random, often));
  for (let last = drawn.length - 1; last > 0; last--) {
    const other = below(random, last + 1);
    [drawn[last], drawn[other]] = [drawn[other] ?? 'kill', drawn[last] ?? 'kill'];
  }
  return drawn.slice(0, count);
}

const least = 3;
const most = 4;
/** A relay looks every 100 ms. */
const takeoverMs = 300;
/** What a relay logs that goes on with what another held. */
export const takenOver = 'relays are gone: what they held is sent by others';

/** Waits for its moment. Who is started anew is not waited for. */
export async function endure(trial: Trial, world: TrialWorld): Promise<void> {
  const { random, leaseMs, redis, fleet, moments } = world;
  const moment = pick(random, ['acknowledged', 'arrived', 'answered']);
  await moments.after(moment, 1 + below(random, moment === 'acknowledged' ? 60 : 14));
  switch (trial) {
    case 'kill':
      fleet.end(await fleet.pick(random), 'SIGKILL');
      break;
    case 'add':
      if (fleet.size >= most) fleet.end(await fleet.pick(random), 'SIGKILL');
      void fleet.add();
      break;
    case 'term':
      fleet.end(await fleet.pick(random), 'SIGTERM');
      break;
    case 'freeze':
      await freeze(world);
      break;
    case 'redis':
      await redis.kill();
      await redis.start();
      break;
    case 'outage':
      await redis.kill();
      await refuseFor(leaseMs + takeoverMs, fleet);
      await redis.start();
  }
  while (fleet.size < least) void fleet.add();
}

/** Until its lease is over and others have what it held, and then some. */
async function freeze({ random, leaseMs, fleet, moments }: TrialWorld): Promise<void> {
  const member = await fleet.pick(random);
  const until = systemClock.monotonic() + leaseMs + takeoverMs;
  fleet.freeze(member);
  while (systemClock.monotonic() < until) await moments.after('acknowledged', 1);
  await moments.after('acknowledged', 1 + below(random, 60));
  fleet.thaw(member);
}

async function refuseFor(ms: number, fleet: Fleet): Promise<void> {
  const until = systemClock.monotonic() + ms;
  while (systemClock.monotonic() < until) await fleet.nextRefusal();
}
