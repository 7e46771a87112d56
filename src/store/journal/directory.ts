import {
  chmodSync,
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
} from 'node:fs';
import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DirectoryError } from './format.js';
import type { FileHead } from './file-head.js';
import { JournalFile } from './journal-file.js';
import { LockFile, lockFileName } from './lock.js';
import { toErrorMessage } from '../../error.js';

const journalFileName = 'journal.mdb';
/** Name of a journal until it is complete. */
const newJournalFileName = 'draft.mdb';
/** Entries that a new data directory may have; `lost+found` is in the root of a volume. */
const harmless = new Set([
  'lost+found',
  lockFileName,
  newJournalFileName,
  `${newJournalFileName}-lock`,
]);

/**
 * The data directory of this process. Two locks exclude other processes: one on the journal's file, which holds
 * even if files are removed, and one on `relay.lock` for the time before the journal exists.
 */
export class Directory {
  /** The path as configured. */
  readonly path: string;
  readonly journalPath: string;
  readonly newJournalPath: string;
  /** The path with all symbolic links resolved at the start: later changes of a link have no effect. */
  readonly #root: string;
  readonly #lock: LockFile;
  #file: JournalFile | null;

  private constructor(path: string, root: string, { lock, file }: Locks) {
    this.path = path;
    this.#root = root;
    this.journalPath = join(root, journalFileName);
    this.newJournalPath = join(root, newJournalFileName);
    this.#lock = lock;
    this.#file = file;
  }

  /**
   * Locks a data directory for this process, and creates it with `create`. Throws DirectoryError if another process
   * has locked it, or if it is damaged or holds other files. It never resets anything.
   */
  static open(path: string, { create, now }: { create: boolean; now: number }): Directory {
    if (create) createDirectory(path);
    const root = resolveDirectory(path);
    const options = toFileOptions(path, root);
    let file = JournalFile.open(options);
    try {
      if (file === null && !create) throw new DirectoryError(path, 'holds no journal');
      if (file === null) verifyEmpty(path, root);
      const lock = new LockFile(path, options.lockPath, now);
      try {
        // Another process may have created it before the lock was acquired.
        file ??= JournalFile.open(options);
        if (file?.head() === null)
          throw new DirectoryError(path, `is damaged: ${journalFileName} is no LMDB file`);
        return new Directory(path, root, { lock, file });
      } catch (error) {
        lock.release();
        throw error;
      }
    } catch (error) {
      file?.close();
      throw error;
    }
  }

  get isNew(): boolean {
    return this.#file === null;
  }

  /**
   * Returns the journal's file, locked. Throws DirectoryError if it is absent or if another process has locked it.
   */
  get file(): JournalFile {
    this.#file ??= JournalFile.open(toFileOptions(this.path, this.#root));
    if (this.#file === null) throw new DirectoryError(this.path, 'holds no journal');
    return this.#file;
  }

  /** Returns the lengths if the file is shorter than its head says; null otherwise. */
  findTruncation(): FileHead | null {
    const head = this.file.head();
    return head !== null && head.fileBytes < head.neededBytes ? head : null;
  }

  /** LMDB creates its lock file by path and would follow a link. Throws DirectoryError. */
  verifyLmdbLock(): void {
    const path = `${this.journalPath}-lock`;
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there?.isFile() === false)
      throw new DirectoryError(this.path, `cannot be used: ${path} is not a regular file`);
  }

  /**
   * Removes the permissions of other users, since the files hold personal data. An older release, a restored copy
   * or an umask may have left them. Returns the paths whose permissions this process may not change.
   */
  protectFiles(): readonly string[] {
    const lmdbLock = `${this.journalPath}-lock`;
    // The lock file is never opened: closing it would release the locks that LMDB has on it.
    const isProtected = (lstatSync(lmdbLock).mode & 0o077) === 0 || tryChmod(lmdbLock);
    return [...(this.file.protect() ? [] : [this.journalPath]), ...(isProtected ? [] : [lmdbLock])];
  }

  /** Looks up the path in another thread: on a volume that hangs, a synchronous look-up would block the process. */
  async lookUpPath(): Promise<void> {
    await lstat(this.journalPath).catch(() => undefined);
  }

  /** Throws JournalLostError if the path no longer names the open journal. */
  verify(minBytes: number): void {
    this.file.verify(minBytes);
  }

  /** Creates `relay.lock` again if it was removed. */
  restoreLock(): void {
    this.#lock.restore();
  }

  release(): void {
    this.#file?.close();
    this.#lock.release();
  }
}

type Locks = { readonly lock: LockFile; readonly file: JournalFile | null };

/** Syncs a directory, so that a power failure does not remove the entry of a new file. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

const toFileOptions = (directory: string, root: string) => ({
  directory,
  path: join(root, journalFileName),
  lockPath: join(root, lockFileName),
});

function createDirectory(path: string): void {
  try {
    if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined)
      syncDirectory(dirname(path));
  } catch (error) {
    throw new DirectoryError(path, `cannot be made: ${toErrorMessage(error)}`);
  }
}

function resolveDirectory(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new DirectoryError(path, `cannot be used: ${toErrorMessage(error)}`);
  }
}

function verifyEmpty(path: string, root: string): void {
  const names = readdirSync(root).filter((name) => !harmless.has(name) && !name.startsWith('.'));
  if (names.length === 1 && names[0] === `${journalFileName}-lock`) {
    throw new DirectoryError(
      path,
      `has lost its ${journalFileName}: put it back, or remove ${names[0]} to begin with an empty journal`,
    );
  }
  if (names.length > 0 && !names.includes(journalFileName)) {
    throw new DirectoryError(
      path,
      `is not empty and holds no journal (${names.slice(0, 3).join(', ')}): give the relay a directory of its own`,
    );
  }
}

function tryChmod(path: string): boolean {
  try {
    chmodSync(path, 0o600);
    return true;
  } catch {
    return false;
  }
}
