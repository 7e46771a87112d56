import { closeSync, fstatSync, ftruncateSync, lstatSync, type BigIntStats } from 'node:fs';
import { readHead, readTransaction, type FileHead } from './file-head.js';
import { openOwnFile, protectFile, readLockedError, tryLock } from './lock.js';

/** The path no longer names the open file, or another process has changed the file. */
export class JournalLostError extends Error {
  constructor(path: string, why: string) {
    super(`the journal is lost: ${path} ${why}`);
    this.name = 'JournalLostError';
  }
}

export type JournalFileOptions = {
  /** The path as configured, for errors. */
  readonly directory: string;
  readonly path: string;
  readonly lockPath: string;
};

/**
 * The journal's file, locked for this process. LMDB opens it by path and never checks the path again, so envelopes
 * written to a file that was removed, replaced, truncated or overwritten would be lost at the next start. This
 * class compares the open file with the path.
 */
export class JournalFile {
  readonly #path: string;
  readonly #fd: number;
  readonly #open: BigIntStats;
  /** Number of the newest transaction found in the file so far. */
  #transaction = 0;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#open = fstatSync(fd, { bigint: true });
  }

  /** Returns null if there is no file. Throws DirectoryError, also if another process has locked it. */
  static open({ directory, path, lockPath }: JournalFileOptions): JournalFile | null {
    const fd = openOwnFile(directory, path, { create: false });
    if (fd === null) return null;
    try {
      if (!tryLock(directory, fd)) throw readLockedError(directory, lockPath);
      return new JournalFile(path, fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Returns null if this is not an LMDB file. */
  head(): FileHead | null {
    return readHead(this.#fd);
  }

  truncate(bytes: number): void {
    ftruncateSync(this.#fd, bytes);
  }

  /** Returns false if other users can read the file and this process may not change that. */
  protect(): boolean {
    return protectFile(this.#fd);
  }

  /** `minBytes` is the least length of the file. Throws JournalLostError. */
  verify(minBytes: number): void {
    const why = this.#whyLost(minBytes);
    if (why !== null) throw new JournalLostError(this.#path, why);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #whyLost(minBytes: number): string | null {
    const there = statPath(this.#path);
    if (typeof there === 'string') return `cannot be looked up: ${there}`;
    if (there === undefined) return 'was removed or renamed while this relay used it';
    if (there.ino !== this.#open.ino || there.dev !== this.#open.dev)
      return 'is not the file any more that this relay has open';
    if (there.size < minBytes) return `was cut off: ${there.size} of ${minBytes} bytes are there`;
    const transaction = readTransaction(this.#fd);
    if (transaction === null || transaction < this.#transaction)
      return 'was overwritten while this relay used it';
    this.#transaction = transaction;
    return null;
  }
}

/** Returns undefined if nothing is at the path, and the error message if the look-up fails. */
function statPath(path: string): BigIntStats | string | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    const isGone = error instanceof Error && 'code' in error && error.code === 'ENOTDIR';
    return isGone ? undefined : String(error);
  }
}
