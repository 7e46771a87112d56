/** A transaction that is not known to be on disk, and why. It is not tried again: a retry of fsync lies. */
export class CommitError extends Error {
  constructor(why: string, cause?: unknown) {
    super(`the journal could not be written: ${why}`, { cause });
    this.name = 'CommitError';
  }
}

/** A commit has not ended, and may never. The thread that it runs in cannot be ended either, but with the process. */
export class StuckError extends CommitError {}

/** lmdb hands out the reason of a rejection as a promise of its own. */
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
