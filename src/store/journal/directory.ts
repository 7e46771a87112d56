import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DirectoryError } from './format.js';
import { readHead, type FileHead } from './file-head.js';
import { lockDirectory, lockFileName } from './lock.js';

const journalFileName = 'journal.mdb';
/** A journal while it is made. */
const draftFileName = 'draft.mdb';
/** What may lie there before the journal is made; a volume's root has its own folder. */
const harmless = new Set(['lost+found', lockFileName, draftFileName, `${draftFileName}-lock`]);

export type Directory = {
  readonly path: string;
  readonly journalPath: string;
  readonly draftPath: string;
  readonly isNew: boolean;
  /** Null where the file is as long as it says. */
  readonly short: FileHead | null;
  release(): void;
};

/**
 * Takes a data directory for this process alone, and makes it where there is none. Throws
 * DirectoryError where another process holds it, and where it holds something else or is damaged:
 * nothing in it is ever reset.
 */
export function openDirectory(
  path: string,
  { create, now }: { create: boolean; now: number },
): Directory {
  if (create) makeDirectory(path);
  const lock = lockDirectory(path, now);
  try {
    const draftPath = join(path, draftFileName);
    return { ...inspect(path, create), path, draftPath, release: () => lock.release() };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** The directory's entry of a new file is synced too, or a power cut could take the whole file. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function makeDirectory(path: string): void {
  try {
    if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined)
      syncDirectory(dirname(path));
  } catch (error) {
    throw new DirectoryError(
      path,
      `cannot be made: ${error instanceof Error ? error.message : ''}`,
    );
  }
}

function inspect(
  path: string,
  create: boolean,
): Pick<Directory, 'journalPath' | 'isNew' | 'short'> {
  const journalPath = join(path, journalFileName);
  const names = readdirSync(path).filter((name) => !harmless.has(name) && !name.startsWith('.'));
  if (names.includes(journalFileName)) {
    const head = readHead(journalPath);
    if (head === null)
      throw new DirectoryError(path, `is damaged: ${journalFileName} is no LMDB file`);
    return { journalPath, isNew: false, short: head.fileBytes < head.neededBytes ? head : null };
  }
  if (!create) throw new DirectoryError(path, 'holds no journal');
  if (names.length > 0) {
    throw new DirectoryError(
      path,
      `is not empty and holds no journal (${names.slice(0, 3).join(', ')}): give the relay a directory of its own`,
    );
  }
  return { journalPath, isNew: true, short: null };
}
