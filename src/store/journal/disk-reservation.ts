import { open, type FileHandle } from 'node:fs/promises';
import type { Write } from './write.js';

/** There is no room on the volume for what is to be written, and nothing of it was. */
export class DiskReservationError extends Error {
  constructor(cause: unknown) {
    super('there is no room on the disk', { cause });
    this.name = 'NoRoomError';
  }
}

/** The volume, a quota, or a limit on a file's length. */
const noRoomCodes = ['ENOSPC', 'EDQUOT', 'EFBIG'];
/** Pages that LMDB copies since they lie on the way to what is changed, in each of the tables, and its list of free pages. */
const baseBytes = 512 * 1024;
/** Of each write, beside its value: key and place in a page. */
const writeBytes = 512;
/** Pages are half full after a split, and a value may need a page more than it fills. */
const spread = 2;
/** The file grows by this, where there is as much: few writes are made that are not needed yet. */
const chunk = Buffer.alloc(4 * 1024 * 1024);

/** Appends leave this much: a settlement makes room, and must not have to wait for it. */
const changeBytes = 1024 * 1024;

/** The most that a transaction of these writes makes LMDB write, and what it is to leave. */
export function toNeededBytes(writes: readonly Write[], hasAppends: boolean): number {
  const least = baseBytes + (hasAppends ? changeBytes : 0);
  return writes.reduce((sum, { bytes }) => sum + spread * (bytes + writeBytes), least);
}

/**
 * Room at the end of LMDB's file, written before LMDB needs it, so that a full disk shows in a write
 * of ours: LMDB 3.5.6 says that a page could not be written in a buffer that is too small for the
 * words (`mdb_page_flush`), and cannot tell a write that was cut short from a sync that failed.
 */
export class DiskReservation {
  readonly #file: FileHandle;
  #endBytes: number;

  private constructor(file: FileHandle, endBytes: number) {
    this.#file = file;
    this.#endBytes = endBytes;
  }

  static async open(path: string): Promise<DiskReservation> {
    const file = await open(path, 'r+');
    const { size } = await file.stat();
    return new DiskReservation(file, size);
  }

  /** Length of the file. */
  get endBytes(): number {
    return this.#endBytes;
  }

  /** Throws NoRoomError; any other error is a fault of the disk. */
  async make({ usedBytes, bytes }: { usedBytes: number; bytes: number }): Promise<void> {
    const needed = usedBytes + bytes;
    try {
      while (this.#endBytes < needed) await this.#extend();
    } catch (error) {
      if (this.#endBytes >= needed) return;
      throw isNoRoom(error) ? new DiskReservationError(error) : error;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #extend(): Promise<void> {
    const end = this.#endBytes + chunk.length;
    while (this.#endBytes < end) {
      const left = end - this.#endBytes;
      const { bytesWritten } = await this.#file.write(chunk, 0, left, this.#endBytes);
      this.#endBytes += bytesWritten;
    }
  }
}

const isNoRoom = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  typeof error.code === 'string' &&
  noRoomCodes.includes(error.code);
