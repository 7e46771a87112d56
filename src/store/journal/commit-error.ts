/**
 * A transaction failed and may not be on disk. It is not retried: after a failed fsync, a second one can succeed
 * without the data on disk.
 */
export class CommitError extends Error {
  constructor(why: string, cause?: unknown) {
    super(`the journal could not be written: ${why}`, { cause });
    this.name = 'CommitError';
  }
}

/** A commit has not ended in time. The thread that runs it ends only with the process. */
export class StuckError extends CommitError {}

/** Converts a rejection of lmdb, which has its reason in a promise of its own. */
export async function toCommitError(rejection: unknown): Promise<CommitError> {
  const cause = await causeOf(rejection);
  return new CommitError(cause instanceof Error ? cause.message : String(cause), rejection);
}

async function causeOf(rejection: unknown): Promise<unknown> {
  if (!(rejection instanceof Error) || !('commitError' in rejection)) return rejection;
  try {
    await rejection.commitError;
  } catch (cause) {
    return cause;
  }
  return rejection;
}
