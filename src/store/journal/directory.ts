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

const journalFileName = 'journal.mdb';
/** A journal while it is made. */
const draftFileName = 'draft.mdb';
/** What may lie there before the journal is made; a volume's root has its own folder. */
const harmless = new Set(['lost+found', lockFileName, draftFileName, `${draftFileName}-lock`]);

/**
 * A data directory that this process holds. Two locks keep others out: the one on the journal's file
 * itself, which no removal of a file lets go, and the one on `relay.lock`, for the time in which there
 * is no journal yet.
 */
export class Directory {
  /** As it is given. */
  readonly path: string;
  readonly journalPath: string;
  readonly draftPath: string;
  /** With all symbolic links resolved once: a link that is changed later leads nobody astray. */
  readonly #root: string;
  readonly #lock: LockFile;
  #file: JournalFile | null;

  private constructor(path: string, root: string, { lock, file }: Locks) {
    this.path = path;
    this.#root = root;
    this.journalPath = join(root, journalFileName);
    this.draftPath = join(root, draftFileName);
    this.#lock = lock;
    this.#file = file;
  }

  /**
   * Takes a data directory for this process alone, and makes it where there is none. Throws
   * DirectoryError where another process holds it, and where it holds something else or is damaged:
   * nothing in it is ever reset.
   */
  static open(path: string, { create, now }: { create: boolean; now: number }): Directory {
    if (create) makeDirectory(path);
    const root = resolveDirectory(path);
    const options = toFileOptions(path, root);
    let file = JournalFile.open(options);
    try {
      if (file === null && !create) throw new DirectoryError(path, 'holds no journal');
      if (file === null) refuseOthersFiles(path, root);
      const lock = new LockFile(path, options.lockPath, now);
      try {
        // Another process may have made it before the lock was taken.
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

  /** The journal's file, locked. Throws DirectoryError where there is none, and where another process has it. */
  get file(): JournalFile {
    this.#file ??= JournalFile.open(toFileOptions(this.path, this.#root));
    if (this.#file === null) throw new DirectoryError(this.path, 'holds no journal');
    return this.#file;
  }

  /** Null where the file is as long as it says. */
  short(): FileHead | null {
    const head = this.file.head();
    return head !== null && head.fileBytes < head.neededBytes ? head : null;
  }

  /** LMDB makes its lock file by its path, and would follow a link. Throws DirectoryError. */
  refuseForeignLock(): void {
    const path = `${this.journalPath}-lock`;
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there?.isFile() === false)
      throw new DirectoryError(this.path, `cannot be used: ${path} is not a regular file`);
  }

  /**
   * The files hold personal data. Takes away what others may do with them, as an older release, a
   * restored copy or an umask may have left it. The paths of those that this process may not change.
   */
  protectFiles(): readonly string[] {
    const lmdbLock = `${this.journalPath}-lock`;
    // Never opened: closing it would end the locks that LMDB has on it.
    const isProtected = (lstatSync(lmdbLock).mode & 0o077) === 0 || tryChmod(lmdbLock);
    return [...(this.file.protect() ? [] : [this.journalPath]), ...(isProtected ? [] : [lmdbLock])];
  }

  /** Looks the path up in another thread: on a volume that hangs, a look from this one would stop everything. */
  async touch(): Promise<void> {
    await lstat(this.journalPath).catch(() => undefined);
  }

  /** Throws JournalLostError where the path does not name the journal any more that is in use. */
  verify(minBytes: number): void {
    this.file.verify(minBytes);
  }

  /** Puts `relay.lock` back where somebody has removed it. */
  restoreLock(): void {
    this.#lock.restore();
  }

  release(): void {
    this.#file?.close();
    this.#lock.release();
  }
}

type Locks = { readonly lock: LockFile; readonly file: JournalFile | null };

/** The directory's entry of a new file is synced too, or a power cut could take the whole file. */
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

function makeDirectory(path: string): void {
  try {
    if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined)
      syncDirectory(dirname(path));
  } catch (error) {
    throw new DirectoryError(path, `cannot be made: ${toMessage(error)}`);
  }
}

function resolveDirectory(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new DirectoryError(path, `cannot be used: ${toMessage(error)}`);
  }
}

function refuseOthersFiles(path: string, root: string): void {
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

const toMessage = (error: unknown): string => (error instanceof Error ? error.message : '');
