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
import { toErrorMessage } from '../../error.js';

export type OpenJournalOptions = JournalOptions &
  Pick<StoreOptions, 'random'> &
  Pick<DiskSpaceOptions, 'reserveBytes'> & {
    readonly directory: string;
    readonly onDiskSpace: DiskSpaceOptions['onChange'];
    /** Called with a file that other users can read and whose permissions this process may not change. */
    readonly onExposedFile: (path: string) => void;
    /** Tests set their own. */
    readonly freeBytes?: DiskSpaceOptions['freeBytes'];
  };

/**
 * Opens the journal of a directory, or creates it. Throws DirectoryError and DamagedError; the directory is left as
 * it is.
 */
export async function openJournal(options: OpenJournalOptions): Promise<JournalStore> {
  const { clock, random } = options;
  const directory = Directory.open(options.directory, { create: true, now: clock.now() });
  let tables: Tables | undefined;
  let reservation: DiskReservation | undefined;
  try {
    const newEpoch = (): string => toEpoch(random());
    if (directory.isNew) await createJournal(directory, newEpoch);
    tables = await openVerified(directory);
    const opened = openFormat(tables, { directory: directory.path, newEpoch });
    directory.protectFiles().forEach(options.onExposedFile);
    reservation = await DiskReservation.open(directory.journalPath);
    const file = { tables, reservation };
    const { freeBytes = toFreeBytes(directory.path), onDiskSpace: onChange } = options;
    const freePages = () => {
      // Reading a page beyond the end of a truncated file would end the process.
      directory.verify(file.reservation.endBytes);
      return readFreePages(file.tables, file.reservation.endBytes);
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
    await reservation?.close();
    await tables?.environment.close();
    directory.release();
    throw error;
  }
}

/**
 * Creates a journal under another name and renames it once it is complete. So a process that is killed meanwhile
 * leaves nothing that the next one could mistake for a damaged journal.
 */
async function createJournal(
  { path, newJournalPath: draftPath, journalPath }: Directory,
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
 * Opens the tables of a complete file. An intact file may end before the last page that LMDB ever used, if that
 * page is free, and a truncated file looks the same. So a short file is first extended, which keeps LMDB from
 * reading beyond its end, and then read completely before it is used. Throws DirectoryError.
 */
export async function openVerified(directory: Directory): Promise<Tables> {
  const { path, journalPath, file } = directory;
  const short = directory.findTruncation();
  directory.verifyLmdbLock();
  if (short !== null) file.truncate(short.neededBytes);
  let tables: Tables | undefined;
  try {
    tables = openTables(journalPath);
    // LMDB opened the path itself.
    directory.verify(0);
    const [fault] = short === null ? [] : verify(tables);
    if (fault === undefined) return tables;
    throw new Error(fault);
  } catch (error) {
    await tables?.environment.close();
    if (short !== null) file.truncate(short.fileBytes);
    const there =
      short === null ? '' : `${short.fileBytes} of ${short.neededBytes} bytes are there: `;
    const why = toErrorMessage(error);
    throw new DirectoryError(path, `is damaged: ${there}${why}`);
  }
}

function toFreeBytes(path: string): () => Promise<number> {
  return async () => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  };
}
