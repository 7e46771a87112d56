import type { ClusterNode } from './redis-cluster.js';

export type SlotMove = {
  readonly from: ClusterNode;
  readonly to: ClusterNode;
  readonly slot: number;
  /** Passes REPLACE to MIGRATE: a key that exists at the target is overwritten. */
  readonly replaces: boolean;
};

/** Starts the move: from now on the keys of the slot may be at either node. */
export async function startMove({ from, to, slot }: SlotMove): Promise<void> {
  await to.connection.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.connection.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
}

/** Moves up to `most` keys. Returns false if none is left. */
export async function moveKeys(move: SlotMove, most: number): Promise<boolean> {
  const { from, to, slot, replaces } = move;
  const names = await from.connection.call('CLUSTER', 'GETKEYSINSLOT', slot, most);
  if (!Array.isArray(names) || names.length === 0) return false;
  const place = ['127.0.0.1', to.server.port, '', 0, 5000] as const;
  const rest = replaces ? ['REPLACE', 'KEYS'] : ['KEYS'];
  await from.connection.call('MIGRATE', ...place, ...rest, ...names.map(String));
  return true;
}

/** Ends the move: the target owns the slot. */
export async function endMove({ from, to, slot }: SlotMove): Promise<void> {
  for (const { connection } of [to, from])
    await connection.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
}

/**
 * Reverts a move: the keys at the target return to the source. A source whose slot is still migrating
 * answers ASK to incoming keys, so it owns the slot again first, with a part of the keys. Relays write
 * nothing there until the other keys are back, so the keys can return without REPLACE.
 */
export async function revertMove(move: SlotMove): Promise<void> {
  const { from, to, slot } = move;
  await from.connection.call('CLUSTER', 'SETSLOT', slot, 'STABLE');
  while (await moveKeys({ ...move, from: to, to: from }, 10));
  await to.connection.call('CLUSTER', 'SETSLOT', slot, 'STABLE');
}
