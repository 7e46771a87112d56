import { rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { toEpoch } from '../ids.js';
import type { StoreOptions } from '../options.js';
import { verify } from './verify.js';
import { Directory, syncDirectory } from './directory.js';
import { DiskSpace, type DiskSpaceOptions } from './disk-space.js';
import { DirectoryError, openFormat } from './format.js';
import { readFreePages } from './free-pages.js';
import { JournalStore, type JournalOptions } from './journal.js';
import { DiskReservation } from './disk-reservation.js';
import { openTables, type Tables } from './tables.js';

export type OpenJournalOptions = JournalOptions &
  Pick<StoreOptions, 'random'> &
  Pick<DiskSpaceOptions, 'reserveBytes'> & {
    readonly directory: string;
    readonly onDiskSpace: DiskSpaceOptions['onChange'];
    /** Others can read this file, and this process may not change that. */
    readonly onExposedFile: (path: string) => void;
    /** Others in tests. */
    readonly freeBytes?: DiskSpaceOptions['freeBytes'];
  };

/** Throws DirectoryError and DamagedError: a directory that cannot be used is left as it is. */
export async function openJournal(options: OpenJournalOptions): Promise<JournalStore> {
  const { clock, random } = options;
  const directory = Directory.open(options.directory, { create: true, now: clock.now() });
  let tables: Tables | undefined;
  let room: DiskReservation | undefined;
  try {
    const newEpoch = (): string => toEpoch(random());
    if (directory.isNew) await makeJournal(directory, newEpoch);
    tables = await openWhole(directory);
    const opened = openFormat(tables, { directory: directory.path, newEpoch });
    directory.protectFiles().forEach(options.onExposedFile);
    const file = { tables, room: (room = await DiskReservation.open(directory.journalPath)) };
    const { freeBytes = toFreeBytes(directory.path), onDiskSpace: onChange } = options;
    const freePages = () => {
      // Of a file that was cut off, reading a page would end the process.
      directory.verify(file.room.endBytes);
      return readFreePages(file.tables, file.room.endBytes);
    };
    const disk = new DiskSpace({ ...options, freeBytes, freePages, onChange });
    const store = new JournalStore({
      ...options,
      ...opened,
      ...file,
      disk,
      directory,
    });
    await disk.start();
    return store;
  } catch (error) {
    await room?.close();
    await tables?.environment.close();
    directory.release();
    throw error;
  }
}

/**
 * Made under another name, and given its own once it is whole: a process that is killed meanwhile
 * leaves nothing that the next one would have to take for a damaged journal.
 */
async function makeJournal(
  { path, draftPath, journalPath }: Directory,
  newEpoch: () => string,
): Promise<void> {
  const root = dirname(journalPath);
  const remove = (file: string): Promise<void> => rm(file, { force: true });
  await Promise.all([draftPath, `${draftPath}-lock`].map(remove));
  const tables = openTables(draftPath);
  try {
    openFormat(tables, { directory: path, newEpoch });
  } finally {
    await tables.environment.close();
  }
  await remove(`${draftPath}-lock`);
  await rename(draftPath, journalPath);
  syncDirectory(root);
}

/**
 * LMDB's file may rightly end before the last page that it ever used, where that page is free. A
 * file that was cut off looks alike, so one that is short is filled up, which keeps LMDB from
 * reading beyond its end, and then read from end to end before it is believed. Throws DirectoryError.
 */
export async function openWhole(directory: Directory): Promise<Tables> {
  const { path, journalPath, file } = directory;
  const short = directory.short();
  directory.refuseForeignLock();
  if (short !== null) file.truncate(short.neededBytes);
  let tables: Tables | undefined;
  try {
    tables = openTables(journalPath);
    // LMDB opened the path by itself.
    directory.verify(0);
    const [fault] = short === null ? [] : verify(tables);
    if (fault === undefined) return tables;
    throw new Error(fault);
  } catch (error) {
    await tables?.environment.close();
    if (short !== null) file.truncate(short.fileBytes);
    const there =
      short === null ? '' : `${short.fileBytes} of ${short.neededBytes} bytes are there: `;
    const why = error instanceof Error ? error.message : String(error);
    throw new DirectoryError(path, `is damaged: ${there}${why}`);
  }
}

function toFreeBytes(path: string): () => Promise<number> {
  return async () => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  };
}
