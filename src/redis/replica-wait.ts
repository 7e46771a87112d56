/** The command that waits for replicas. With `WAITAOF` (Redis 7.2), replicas have the write on disk. */
export type WaitCommand = 'WAIT' | 'WAITAOF';

/** Arguments of the command that waits at most `ms` for that many replicas. */
export function toWaitArguments(
  command: WaitCommand,
  { replicas, ms }: { readonly replicas: number; readonly ms: number },
): readonly number[] {
  // The first argument of WAITAOF is whether the primary must have the write on disk: its settings decide that.
  return command === 'WAIT' ? [replicas, ms] : [0, replicas, ms];
}

/** Number of replicas that have the write. WAITAOF replies with the primary's own count first. */
export function readReplicaCount(reply: unknown): number {
  return Number(Array.isArray(reply) ? reply.at(-1) : reply);
}
