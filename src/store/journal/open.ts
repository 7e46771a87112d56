import { chmodSync } from 'node:fs';
import { rename, rm, statfs, truncate } from 'node:fs/promises';
import { toEpoch } from '../ids.js';
import type { StoreOptions } from '../options.js';
import { verify } from './verify.js';
import { openDirectory, syncDirectory, type Directory } from './directory.js';
import { DiskSpace, type DiskSpaceOptions } from './disk-space.js';
import { DirectoryError, openFormat } from './format.js';
import { readFreePages } from './free-pages.js';
import { JournalStore, type JournalOptions } from './journal.js';
import { Room } from './room.js';
import { openTables, type Tables } from './tables.js';

export type OpenJournalOptions = JournalOptions &
  Pick<StoreOptions, 'random'> &
  Pick<DiskSpaceOptions, 'reserveBytes'> & {
    readonly directory: string;
    readonly onDiskSpace: DiskSpaceOptions['onChange'];
    /** Others in tests. */
    readonly freeBytes?: DiskSpaceOptions['freeBytes'];
  };

/** Throws DirectoryError and DamagedError: a directory that cannot be used is left as it is. */
export async function openJournal(options: OpenJournalOptions): Promise<JournalStore> {
  const { clock, random } = options;
  const directory = openDirectory(options.directory, { create: true, now: clock.now() });
  let tables: Tables | undefined;
  let room: Room | undefined;
  try {
    const newEpoch = (): string => toEpoch(random());
    if (directory.isNew) await makeJournal(directory, newEpoch);
    tables = await openWhole(directory);
    const opened = openFormat(tables, { directory: directory.path, newEpoch });
    if (directory.isNew) protectFiles(directory.journalPath);
    const file = { tables, room: (room = await Room.open(directory.journalPath)) };
    const { freeBytes = toFreeBytes(directory.path), onDiskSpace: onChange } = options;
    const freePages = () => readFreePages(file.tables, file.room.endBytes);
    const disk = new DiskSpace({ ...options, freeBytes, freePages, onChange });
    const store = new JournalStore({
      ...options,
      ...opened,
      ...file,
      disk,
      release: () => directory.release(),
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
  syncDirectory(path);
}

/**
 * LMDB's file may rightly end before the last page that it ever used, where that page is free. A
 * file that was cut off looks alike, so one that is short is filled up, which keeps LMDB from
 * reading beyond its end, and then read from end to end before it is believed. Throws DirectoryError.
 */
export async function openWhole({ path, journalPath, short }: Directory): Promise<Tables> {
  if (short !== null) await truncate(journalPath, short.neededBytes);
  let tables: Tables | undefined;
  try {
    tables = openTables(journalPath);
    const [fault] = short === null ? [] : verify(tables);
    if (fault === undefined) return tables;
    throw new Error(fault);
  } catch (error) {
    await tables?.environment.close();
    if (short !== null) await truncate(journalPath, short.fileBytes);
    const there =
      short === null ? '' : `${short.fileBytes} of ${short.neededBytes} bytes are there: `;
    const why = error instanceof Error ? error.message : String(error);
    throw new DirectoryError(path, `is damaged: ${there}${why}`);
  }
}

/** They hold personal data, and the directory may be an older one that everybody can read. */
function protectFiles(journalPath: string): void {
  for (const path of [journalPath, `${journalPath}-lock`]) chmodSync(path, 0o600);
}

function toFreeBytes(path: string): () => Promise<number> {
  return async () => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  };
}
