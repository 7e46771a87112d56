/** How a server is asked to wait for replicas. `WAITAOF`, from Redis 7.2 on: they have it on disk. */
export type WaitCommand = 'WAIT' | 'WAITAOF';

/** The arguments of the command, to wait for so many replicas for at most `ms`. */
export function toWaitArguments(
  command: WaitCommand,
  { replicas, ms }: { readonly replicas: number; readonly ms: number },
): readonly number[] {
  // WAITAOF also takes whether the server itself must have it on disk: its settings say that.
  return command === 'WAIT' ? [replicas, ms] : [0, replicas, ms];
}

/** How many replicas have it. WAITAOF answers with the server's own count first. */
export function readReplicaCount(reply: unknown): number {
  return Number(Array.isArray(reply) ? reply.at(-1) : reply);
}
