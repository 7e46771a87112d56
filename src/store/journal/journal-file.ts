import { closeSync, fstatSync, ftruncateSync, lstatSync, type BigIntStats } from 'node:fs';
import { readHead, readTransaction, type FileHead } from './file-head.js';
import { openOwnFile, protectFile, readHeldError, tryLock } from './lock.js';

/** The path does not name the file any more that this process writes, or the file is not what it wrote. */
export class JournalLostError extends Error {
  constructor(path: string, why: string) {
    super(`the journal is lost: ${path} ${why}`);
    this.name = 'JournalLostError';
  }
}

export type JournalFileOptions = {
  /** As it is given, for errors. */
  readonly directory: string;
  readonly path: string;
  readonly lockPath: string;
};

/**
 * The journal's file, locked for this process. LMDB opens it by its path and never looks at the path
 * again, so a file that is removed, replaced, cut off or overwritten would take envelopes that no
 * later process finds. This compares what is open with what the path names.
 */
export class JournalFile {
  readonly #path: string;
  readonly #fd: number;
  readonly #open: BigIntStats;
  /** Number of the newest transaction that was seen in the file. */
  #transaction = 0;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#open = fstatSync(fd, { bigint: true });
  }

  /** Null where there is none. Throws DirectoryError, also where another process has locked it. */
  static open({ directory, path, lockPath }: JournalFileOptions): JournalFile | null {
    const fd = openOwnFile(directory, path, { create: false });
    if (fd === null) return null;
    try {
      if (!tryLock(directory, fd)) throw readHeldError(directory, lockPath);
      return new JournalFile(path, fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Null where it is no LMDB file. */
  head(): FileHead | null {
    return readHead(this.#fd);
  }

  truncate(bytes: number): void {
    ftruncateSync(this.#fd, bytes);
  }

  /** Returns false where others can read it and this process may not change that. */
  protect(): boolean {
    return protectFile(this.#fd);
  }

  /** `minBytes`: how long the file is at least. Throws JournalLostError. */
  verify(minBytes: number): void {
    const why = this.#whyLost(minBytes);
    if (why !== null) throw new JournalLostError(this.#path, why);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #whyLost(minBytes: number): string | null {
    const there = lookUp(this.#path);
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

/** Undefined where the path leads to nothing; the reason where that cannot be said. */
function lookUp(path: string): BigIntStats | string | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    const isGone = error instanceof Error && 'code' in error && error.code === 'ENOTDIR';
    return isGone ? undefined : String(error);
  }
}
