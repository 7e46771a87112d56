import { fstatSync, readSync } from 'node:fs';

/**
 * Offsets of the fields that show whether an LMDB file is complete (mdb.c, MDB_meta of this build, after a page
 * header of 24 bytes).
 */
const magicAt = 24;
const pageSizeAt = 48;
const lastPageAt = 144;
const transactionAt = 152;
const metaBytes = 168;
const magic = 0xbeefc0de;
const smallestPage = 512;
const largestPage = 65_536;

export type FileHead = {
  readonly fileBytes: number;
  /** Bytes up to the last page that was ever used. */
  readonly neededBytes: number;
};

/**
 * Returns the actual and the needed length of an LMDB file; null if it is not one. LMDB maps the file without this
 * check, and reading a page beyond its end would end the process with SIGBUS.
 */
export function readHead(fd: number): FileHead | null {
  const newest = readNewestMeta(fd);
  if (newest === null) return null;
  const { lastPage, pageSize } = newest;
  return { fileBytes: fstatSync(fd).size, neededBytes: (lastPage + 1) * pageSize };
}

/** Returns the number of the newest transaction; null if this is not an LMDB file. */
export const readTransaction = (fd: number): number | null =>
  readNewestMeta(fd)?.transaction ?? null;

type Meta = { readonly pageSize: number; readonly lastPage: number; readonly transaction: number };

/** Buffer for both meta pages, reused since this runs for every group of writes. */
const head = Buffer.alloc(largestPage + metaBytes);
const usualPage = 4096;

function readNewestMeta(fd: number): Meta | null {
  let length = readSync(fd, head, 0, usualPage + metaBytes, 0);
  const first = toMeta(length, 0);
  if (first === null) return null;
  if (first.pageSize > usualPage) length = readSync(fd, head, 0, first.pageSize + metaBytes, 0);
  const second = toMeta(length, first.pageSize);
  if (second === null) return null;
  return second.transaction > first.transaction ? second : first;
}

function toMeta(length: number, at: number): Meta | null {
  if (length < at + metaBytes) return null;
  const pageSize = head.readUInt32LE(at + pageSizeAt);
  const isPage = pageSize >= smallestPage && pageSize <= largestPage;
  if (head.readUInt32LE(at + magicAt) !== magic || !isPage) return null;
  return {
    pageSize,
    lastPage: Number(head.readBigUInt64LE(at + lastPageAt)),
    transaction: Number(head.readBigUInt64LE(at + transactionAt)),
  };
}
