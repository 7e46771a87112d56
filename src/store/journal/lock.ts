import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  writeSync,
  type BigIntStats,
} from 'node:fs';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { z } from 'zod';
import { DirectoryError } from './format.js';
import { toErrorMessage } from '../../error.js';

/** The package has no types; this is the part in use. Returns false if another process holds the lock. */
const native = createRequire(import.meta.url)('fs-native-extensions') as {
  tryLock(fd: number): boolean;
};

export const lockFileName = 'relay.lock';

const holderSchema = z.object({ pid: z.int(), host: z.string(), since: z.string() });
type Holder = z.output<typeof holderSchema>;

/** Longer than the description of any holder. */
const maxHolderBytes = 4096;
/** Does not follow symbolic links, and does not wait for the other end of a pipe. */
const safeFlags = constants.O_NOFOLLOW | constants.O_NONBLOCK;
const readableByOthers = 0o077n;

/**
 * Opens a regular file to read and write. Returns null if it is absent and not created. Throws DirectoryError if
 * the path is a link, a pipe or a directory.
 */
export function openOwnFile(
  directory: string,
  path: string,
  { create }: { create: boolean },
): number | null {
  const flags = constants.O_RDWR | safeFlags | (create ? constants.O_CREAT : 0);
  let fd: number;
  try {
    fd = openSync(path, flags, 0o600);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'ENOENT' && !create) return null;
    const why = code === 'ELOOP' ? `${path} is a symbolic link` : toErrorMessage(error);
    throw new DirectoryError(directory, `cannot be used: ${why}`);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new DirectoryError(directory, `cannot be used: ${path} is not a regular file`);
}

/** Returns true if the path names the open file. */
export function isAtPath(path: string, open: BigIntStats): boolean {
  const there = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return there?.dev === open.dev && there.ino === open.ino;
}

/** Returns false if other users can read the file and this process may not change that. */
export function protectFile(fd: number): boolean {
  if ((fstatSync(fd, { bigint: true }).mode & readableByOthers) === 0n) return true;
  try {
    fchmodSync(fd, 0o600);
    return true;
  } catch {
    return false;
  }
}

/** Acquires an open file description lock, which the kernel releases when the process ends in any way. */
export function tryLock(directory: string, fd: number): boolean {
  try {
    return native.tryLock(fd);
  } catch (error) {
    throw new DirectoryError(directory, `cannot be locked: ${toErrorMessage(error)}`);
  }
}

/**
 * `relay.lock` names the process that uses the directory, and excludes a second one before the journal exists. Any
 * user may remove the file, so the lock on the journal counts once there is one.
 */
export class LockFile {
  readonly #directory: string;
  readonly #path: string;
  readonly #holder: Holder;
  #fd: number;
  #open: BigIntStats;

  /** Throws a DirectoryError that names the process with the lock. */
  constructor(directory: string, path: string, now: number) {
    this.#directory = directory;
    this.#path = path;
    const since = new Date(now).toISOString();
    this.#holder = { pid: process.pid, host: hostname(), since };
    this.#fd = this.#acquire();
    this.#open = fstatSync(this.#fd, { bigint: true });
  }

  /** Creates the file again if it was removed or replaced. */
  restore(): void {
    try {
      if (isAtPath(this.#path, this.#open)) return;
      const fd = this.#acquire();
      closeSync(this.#fd);
      this.#fd = fd;
      this.#open = fstatSync(fd, { bigint: true });
    } catch {
      // Another process may hold it for a moment while it checks the directory. The next check tries again.
    }
  }

  release(): void {
    closeSync(this.#fd);
  }

  #acquire(): number {
    const fd = openOwnFile(this.#directory, this.#path, { create: true });
    if (fd === null) throw new Error('a file that is made was not made');
    try {
      const content = readStart(fd);
      if (!/^(?:[\0\s]*$|\{"pid":)/.test(content)) {
        const why = `${this.#path} is no lock file of klaviyo-relay`;
        throw new DirectoryError(this.#directory, `cannot be used: ${why}`);
      }
      if (!tryLock(this.#directory, fd)) throw createLockedError(this.#directory, content);
      if (!isAtPath(this.#path, fstatSync(fd, { bigint: true }))) {
        const why = `${this.#path} was replaced while it was locked`;
        throw new DirectoryError(this.#directory, `cannot be used: ${why}`);
      }
      protectFile(fd);
      writeHolder(fd, `${JSON.stringify(this.#holder)}\n`);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
}

/** Returns the error of a directory whose journal another process has locked. */
export function readLockedError(directory: string, lockPath: string): DirectoryError {
  return createLockedError(directory, readContent(directory, lockPath));
}

function createLockedError(directory: string, content: string): DirectoryError {
  return new DirectoryError(
    directory,
    `is held by ${describeHolder(content)}: one process at a time`,
  );
}

/**
 * Writes the holder for the error of a second process. The lock works without it, so a full volume does not prevent
 * a start.
 */
function writeHolder(fd: number, text: string): void {
  try {
    ftruncateSync(fd);
    writeSync(fd, text, 0);
  } catch {
    // The error of a second process then says "another process".
  }
}

function describeHolder(content: string): string {
  const parsed = holderSchema.safeParse(parseJsonOrNull(content));
  if (!parsed.success) return 'another process';
  const { pid, host, since } = parsed.data;
  return `process ${pid} on ${host} since ${since}`;
}

function readContent(directory: string, path: string): string {
  try {
    const fd = openOwnFile(directory, path, { create: false });
    if (fd === null) return '';
    try {
      return readStart(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

function readStart(fd: number): string {
  const bytes = Buffer.alloc(maxHolderBytes);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, maxHolderBytes, 0));
}

function parseJsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
