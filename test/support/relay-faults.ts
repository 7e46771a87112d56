import { systemClock } from '../../src/clock.js';
import type { Fleet } from './fleet.js';
import type { Moments } from './moments.js';
import type { RedisServer } from './redis-server.js';
import type { SharedBuffer } from './shared-buffer.js';
import { below, pick, type Random } from './seeded-load.js';

/**
 * Faults of relays that share a Redis. `kill`: a relay is killed and another one started; `add`: a relay
 * is added, up to four; `term`: a relay gets SIGTERM; `freeze`: a relay is stopped for longer than its
 * lease; `redis`: Redis is killed and started again at once; `outage`: it starts after all leases expired.
 */
export const relayFaults = ['kill', 'add', 'term', 'freeze', 'redis', 'outage'] as const;
export type RelayFault = (typeof relayFaults)[number];

export type RelayFaultWorld = {
  readonly random: Random;
  readonly leaseMs: number;
  readonly redis: RedisServer;
  readonly buffer: Pick<SharedBuffer, 'untilFileRewritten'>;
  readonly fleet: Fleet;
  readonly moments: Moments;
};

const weightedFaults: readonly RelayFault[] = [
  ...(['kill', 'kill', 'kill', 'kill', 'kill', 'add', 'term'] as const),
  ...(['freeze', 'freeze', 'freeze', 'redis', 'redis', 'outage'] as const),
];

/** Draws `count` faults in random order; each one occurs at least once if `count` permits it. */
export function drawRelayFaults(random: Random, count: number): readonly RelayFault[] {
  const drawn: RelayFault[] = [...relayFaults];
  while (drawn.length < count) drawn.push(pick(random, weightedFaults));
  for (let last = drawn.length - 1; last > 0; last--) {
    const other = below(random, last + 1);
    [drawn[last], drawn[other]] = [drawn[other] ?? 'kill', drawn[last] ?? 'kill'];
  }
  return drawn.slice(0, count);
}

const minRelays = 3;
const maxRelays = 4;
/** A relay searches for expired leases every 100 ms. */
const takeoverMs = 300;
/** What a relay logs when it takes over the envelopes of another one. */
export const takeoverLogLine = 'the leases of relays ended: other relays send their envelopes';

/** Waits for a random moment and applies the fault. Does not wait until new relays listen. */
export async function injectRelayFault(fault: RelayFault, world: RelayFaultWorld): Promise<void> {
  const { random, leaseMs, redis, buffer, fleet, moments } = world;
  if (fault === 'redis' || fault === 'outage') await buffer.untilFileRewritten();
  const moment = pick(random, ['acknowledged', 'arrived', 'answered']);
  await moments.after(moment, 1 + below(random, moment === 'acknowledged' ? 60 : 14));
  switch (fault) {
    case 'kill':
      fleet.end(await fleet.pick(random), 'SIGKILL');
      break;
    case 'add':
      if (fleet.size >= maxRelays) fleet.end(await fleet.pick(random), 'SIGKILL');
      void fleet.add();
      break;
    case 'term':
      fleet.end(await fleet.pick(random), 'SIGTERM');
      break;
    case 'freeze':
      await freezeBeyondLease(world);
      break;
    case 'redis':
      await redis.kill();
      await redis.start();
      break;
    case 'outage':
      await redis.kill();
      await waitForRejections(leaseMs + takeoverMs, fleet);
      await redis.start();
  }
  while (fleet.size < minRelays) void fleet.add();
}

/** Stops a relay until its lease has expired, others have taken over its envelopes, and more events are acknowledged. */
async function freezeBeyondLease({
  random,
  leaseMs,
  fleet,
  moments,
}: RelayFaultWorld): Promise<void> {
  const member = await fleet.pick(random);
  const until = systemClock.monotonic() + leaseMs + takeoverMs;
  fleet.freeze(member);
  while (systemClock.monotonic() < until) await moments.after('acknowledged', 1);
  await moments.after('acknowledged', 1 + below(random, 60));
  fleet.thaw(member);
}

async function waitForRejections(ms: number, fleet: Fleet): Promise<void> {
  const until = systemClock.monotonic() + ms;
  while (systemClock.monotonic() < until) await fleet.nextRejection();
}
