import type { ClusterNode } from './redis-cluster.js';

export type SlotMove = {
  readonly from: ClusterNode;
  readonly to: ClusterNode;
  readonly slot: number;
  /** MIGRATE's REPLACE: a key that the target has already is overwritten. */
  readonly replaces: boolean;
};

/** From now on the slot's keys may be at either of the two nodes. */
export async function startMove({ from, to, slot }: SlotMove): Promise<void> {
  await to.connection.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.connection.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
}

/** Moves up to `most` keys. False once there is none left. */
export async function moveKeys(move: SlotMove, most: number): Promise<boolean> {
  const { from, to, slot, replaces } = move;
  const names = await from.connection.call('CLUSTER', 'GETKEYSINSLOT', slot, most);
  if (!Array.isArray(names) || names.length === 0) return false;
  const place = ['127.0.0.1', to.server.port, '', 0, 5000] as const;
  const rest = replaces ? ['REPLACE', 'KEYS'] : ['KEYS'];
  await from.connection.call('MIGRATE', ...place, ...rest, ...names.map(String));
  return true;
}

/** The target has the slot. */
export async function endMove({ from, to, slot }: SlotMove): Promise<void> {
  for (const { connection } of [to, from])
    await connection.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
}

/**
 * Gives up a move: what is at the target goes back to the source. A source that still counts the slot as
 * leaving answers ASK to what it is to get, so it must take the slot back first, with a part of its keys.
 * Relays write nothing there until the rest is back, so that it can come back without REPLACE, too.
 */
export async function revertMove(move: SlotMove): Promise<void> {
  const { from, to, slot } = move;
  await from.connection.call('CLUSTER', 'SETSLOT', slot, 'STABLE');
  while (await moveKeys({ ...move, from: to, to: from }, 10));
  await to.connection.call('CLUSTER', 'SETSLOT', slot, 'STABLE');
}
