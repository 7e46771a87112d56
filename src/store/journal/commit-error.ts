/** A transaction that is not on disk, and why. */
export class CommitError extends Error {
  /** The disk is full. */
  readonly isNoSpace: boolean;
  /**
   * It failed while its pages were written, before anything was synced: LMDB never writes over what
   * an older transaction needs, so that one stands, and the next may be tried.
   */
  readonly isBeforeSync: boolean;

  constructor(
    message: string,
    facts: { isNoSpace: boolean; isBeforeSync: boolean; cause: unknown },
  ) {
    super(`the journal could not be written: ${message}`, { cause: facts.cause });
    this.name = 'CommitError';
    this.isNoSpace = facts.isNoSpace;
    this.isBeforeSync = facts.isBeforeSync;
  }
}

const errno = { io: 5, noSpace: 28 } as const;
/** A write that was cut short has taken what was left. */
const nothingLeftBytes = 64 * 1024;

export type CommitSurroundings = {
  /** Of the volume. */
  readonly freeBytes: () => Promise<number>;
  /** False once a head page could not be written: LMDB answers nothing any more until it is opened anew. */
  readonly isReadable: () => boolean;
};

/**
 * What lmdb's rejection means. It hands out the reason as a promise of its own, with errno as `code`.
 * That LMDB was writing pages shows in the words alone; anything unknown counts as after the sync,
 * which is the careful side: a sync that failed is not tried again (a retry of fsync lies).
 *
 * A write that the full disk cut short is EIO to LMDB, and no different in words from a sync that
 * failed; that nothing is left on the volume tells.
 */
export async function toCommitError(
  rejection: unknown,
  { freeBytes, isReadable }: CommitSurroundings,
): Promise<CommitError> {
  const cause = await causeOf(rejection);
  const message = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof Error && 'code' in cause ? cause.code : null;
  const wasCutShort = code === errno.io && (await freeBytes()) < nothingLeftBytes;
  return new CommitError(wasCutShort ? `${message}: no space is left` : message, {
    isNoSpace: code === errno.noSpace || wasCutShort,
    isBeforeSync: isReadable() && (wasCutShort || message.includes('Attempting to write page')),
    cause: rejection,
  });
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
