import { wait, type Clock } from '../../src/clock.js';
import type { Fleet } from './fleet.js';
import type { Moments } from './moments.js';
import type { ServerNode } from './redis-sentinels.js';
import { below, pick, type Random } from './seeded-load.js';
import { endMove, moveKeys, startMove, revertMove, type SlotMove } from './slot-move.js';
import { pollUntil, type Topology } from './topology.js';

/**
 * Faults of relays and of the Redis servers that they share:
 *
 * - `kill`: the primary is killed, a replica takes its place, and the killed server starts again;
 *   `restart`: it starts again before a replica takes its place.
 * - `lag`: a kill while the replicas are stopped, so that they lack the last writes.
 * - `pause`: the primary is stopped until a replica has taken its place, and continues; `hiccup`: it
 *   continues before that.
 * - `failover`: an operator starts a planned failover; `frozen`: a failover or a kill while a relay is
 *   stopped.
 * - `rolling`: each server is restarted, one after the other; `shard`: only the servers that hold the
 *   buffer, the primary last.
 * - `move`: the slot is moved to another node key by key; `back`: the move is reverted halfway.
 * - `scripts`: the servers drop their scripts, and a relay of another build replaces a relay.
 * - `relay`: a relay is killed, and another one is started.
 */
export const faults = [
  ...(['kill', 'lag', 'restart', 'pause', 'hiccup', 'failover', 'frozen'] as const),
  ...(['rolling', 'shard', 'scripts', 'relay', 'move', 'back'] as const),
] as const;
export type Fault = (typeof faults)[number];

export type FaultWorld = {
  readonly random: Random;
  readonly clock: Clock;
  readonly topology: Topology;
  readonly fleet: Fleet;
  readonly moments: Moments;
  readonly slotKey: string;
  readonly leaseMs: number;
  /** Switches the build of the relays that are started from now on. */
  readonly changeScripts: () => void;
  /** Called when a server ends or is stopped: acknowledged writes that it did not replicate may be lost. */
  readonly onAbruptEnd: () => void;
};

/** Maximum time until the servers have agreed on another primary. */
export const failoverMs = 30_000;
const wholeMs = 60_000;

/** Draws `count` faults in random order; each one occurs at least once if `count` permits it. */
export function drawFaults(
  random: Random,
  kind: Topology['kind'],
  count: number,
): readonly Fault[] {
  const possible = faults.filter(
    (fault) => kind === 'cluster' || (fault !== 'move' && fault !== 'back'),
  );
  const drawn: Fault[] = [];
  while (drawn.length < count) {
    const round = [...possible];
    while (round.length > 0) drawn.push(...round.splice(below(random, round.length), 1));
  }
  return drawn.slice(0, count);
}

/** Waits for a random moment and applies the fault. Resolves once all servers are available again. */
export async function injectFault(fault: Fault, world: FaultWorld): Promise<void> {
  const { random, moments } = world;
  await moments.after('acknowledged', 20 + below(random, 60));
  await applyFault(fault, world);
  await untilWhole(world);
}

export function untilWhole({ clock, topology }: Pick<FaultWorld, 'clock' | 'topology'>) {
  const look = { what: 'all servers are available', clock, maxMs: wholeMs };
  return pollUntil(look, () => topology.isWhole());
}

async function applyFault(fault: Fault, world: FaultWorld): Promise<void> {
  const { random, clock, topology, fleet, onAbruptEnd: noteAbrupt } = world;
  switch (fault) {
    case 'kill': {
      const owner = await getOwner(world);
      await kill(owner, world);
      await untilOtherPrimary(owner, world);
      await wait(clock, below(random, 2000));
      await owner.server.start();
      break;
    }
    case 'lag': {
      const owner = await getOwner(world);
      const replicas = await topology.replicasOf(owner);
      for (const { server } of replicas) server.freeze();
      // A stopped replica would read pending data when it continues, so its connection is closed.
      await owner.connection.call('CLIENT', 'KILL', 'TYPE', 'replica');
      noteAbrupt();
      await wait(clock, below(random, 800));
      await kill(owner, world);
      for (const { server } of replicas) server.thaw();
      await untilOtherPrimary(owner, world);
      await owner.server.start();
      break;
    }
    case 'restart': {
      const owner = await getOwner(world);
      await kill(owner, world);
      await wait(clock, below(random, 800));
      await owner.server.start();
      break;
    }
    case 'pause': {
      const owner = await getOwner(world);
      owner.server.freeze();
      noteAbrupt();
      await untilOtherPrimary(owner, world);
      await wait(clock, below(random, 3000));
      owner.server.thaw();
      await untilReplica(owner, world);
      break;
    }
    case 'hiccup': {
      const owner = await getOwner(world);
      owner.server.freeze();
      noteAbrupt();
      await wait(clock, 100 + below(random, 1200));
      owner.server.thaw();
      break;
    }
    case 'failover':
      await failOver(world);
      break;
    case 'frozen': {
      const member = await fleet.pick(random);
      fleet.freeze(member);
      const owner = await getOwner(world);
      if (random() < 0.5) await failOver(world);
      else {
        await kill(owner, world);
        await untilOtherPrimary(owner, world);
        await owner.server.start();
      }
      await wait(clock, pick(random, [0, 2 * world.leaseMs]));
      fleet.thaw(member);
      break;
    }
    case 'rolling':
      await restartEach(topology.nodes, world);
      break;
    case 'shard': {
      const owner = await getOwner(world);
      await restartEach([...(await topology.replicasOf(owner)), owner], world);
      break;
    }
    case 'scripts':
      for (const { connection } of topology.nodes) await connection.call('SCRIPT', 'FLUSH');
      world.changeScripts();
      fleet.end(await fleet.pick(random), 'SIGTERM');
      await fleet.add();
      break;
    case 'relay':
      fleet.end(await fleet.pick(random), 'SIGKILL');
      await fleet.add();
      break;
    case 'move': {
      const move = await planSlotMove(world);
      await startMove(move);
      while (await moveKeys(move, 1 + below(random, 8)));
      await endMove(move);
      break;
    }
    case 'back': {
      const move = await planSlotMove(world);
      await startMove(move);
      const rounds = 1 + below(random, 3);
      for (let round = 0; round < rounds; round++) await moveKeys(move, 1 + below(random, 5));
      // Meanwhile each relay polls the cluster and detects the move.
      await wait(clock, 500 + below(random, 1500));
      await revertMove(move);
    }
  }
}

async function restartEach(nodes: readonly ServerNode[], world: FaultWorld): Promise<void> {
  for (const { server } of nodes) {
    await server.stop();
    await wait(world.clock, below(world.random, 1500));
    await server.start();
    await untilWhole(world);
  }
}

async function kill(owner: ServerNode, { onAbruptEnd: noteAbrupt }: FaultWorld): Promise<void> {
  const ending = owner.server.kill();
  noteAbrupt();
  await ending;
}

async function getOwner({ topology }: FaultWorld): Promise<ServerNode> {
  const owner = await topology.owner();
  if (owner === null) throw new Error('the servers do not agree on a primary');
  return owner;
}

/** A replica gives up a failover after five seconds, and sentinels reject one that follows another too soon. */
const retryFailoverMs = 6000;

async function failOver(world: FaultWorld): Promise<void> {
  const { clock, topology } = world;
  const before = await getOwner(world);
  let requestedAt = -Infinity;
  const look = { what: 'a replica has replaced the primary', clock, maxMs: wholeMs };
  await pollUntil(look, async () => {
    const owner = await topology.owner();
    if (owner !== null && owner !== before) return true;
    if (clock.monotonic() - requestedAt < retryFailoverMs) return false;
    requestedAt = clock.monotonic();
    await topology.startFailover();
    return false;
  });
}

function untilOtherPrimary(than: ServerNode, { clock, topology }: FaultWorld): Promise<void> {
  const look = { what: 'another server is the primary', clock, maxMs: failoverMs };
  return pollUntil(look, async () => {
    const owner = await topology.owner();
    return owner !== null && owner !== than;
  });
}

/** Resolves once the former primary is a replica. */
function untilReplica({ connection }: ServerNode, { clock }: FaultWorld): Promise<void> {
  const look = { what: 'the former primary is a replica', clock, maxMs: failoverMs };
  return pollUntil(look, async () => String(await connection.call('ROLE')).startsWith('slave'));
}

async function planSlotMove({ random, topology, slotKey }: FaultWorld): Promise<SlotMove> {
  const { cluster } = topology;
  if (cluster === null) throw new Error('only a cluster has slots');
  const from = await cluster.ownerOf(slotKey);
  const to = await cluster.anotherPrimary(from);
  const slot = Number(await from.connection.call('CLUSTER', 'KEYSLOT', slotKey));
  return { from, to, slot, replaces: random() < 0.5 };
}
