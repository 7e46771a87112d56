import { open, type FileHandle } from 'node:fs/promises';
import type { Write } from './write.js';

/** The volume is full, and nothing was written. */
export class DiskReservationError extends Error {
  constructor(cause: unknown) {
    super('there is no room on the disk', { cause });
    this.name = 'DiskReservationError';
  }
}

/** Error codes of a full volume, an exceeded quota and a file of the maximum length. */
const diskFullCodes = ['ENOSPC', 'EDQUOT', 'EFBIG'];
/** Bytes for pages that LMDB copies on the paths to changed pages, in all tables and in its list of free pages. */
const baseBytes = 512 * 1024;
/** Bytes of each write in addition to its value: the key and its place in a page. */
const writeBytes = 512;
/** Pages are half full after a split, and a value may need one page more than it fills. */
const pageFillFactor = 2;
/** Step by which the file grows if the volume has as much space, so that few extensions are needed. */
const extension = Buffer.alloc(4 * 1024 * 1024);

/** Appends leave this much free: a settlement frees space, so it must not wait for space. */
const changeBytes = 1024 * 1024;

/**
 * Returns the most bytes that a transaction with these writes makes LMDB write, with the reserve that appends
 * leave.
 */
export function countNeededBytes(writes: readonly Write[], hasAppends: boolean): number {
  const least = baseBytes + (hasAppends ? changeBytes : 0);
  return writes.reduce((sum, { bytes }) => sum + pageFillFactor * (bytes + writeBytes), least);
}

/**
 * Writes space at the end of LMDB's file before LMDB needs it, so that a full disk fails a write of the relay and
 * not one of LMDB. LMDB 3.5.6 formats its message about a failed page write into a buffer that is too small
 * (`mdb_page_flush`), and it does not distinguish a partial write from a failed sync.
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

  /**
   * Makes sure that the file has space for the write. Throws DiskReservationError if the disk is full; any other
   * error is a failure of the disk.
   */
  async reserve({ usedBytes, bytes }: { usedBytes: number; bytes: number }): Promise<void> {
    const needed = usedBytes + bytes;
    try {
      while (this.#endBytes < needed) await this.#extend();
    } catch (error) {
      if (this.#endBytes >= needed) return;
      throw isDiskFull(error) ? new DiskReservationError(error) : error;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #extend(): Promise<void> {
    const end = this.#endBytes + extension.length;
    while (this.#endBytes < end) {
      const left = end - this.#endBytes;
      const { bytesWritten } = await this.#file.write(extension, 0, left, this.#endBytes);
      this.#endBytes += bytesWritten;
    }
  }
}

const isDiskFull = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  typeof error.code === 'string' &&
  diskFullCodes.includes(error.code);
