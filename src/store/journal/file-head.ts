import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** The parts of LMDB's meta page that tell whether the file is whole (mdb.c, MDB_meta of this build: a page header of 24 bytes before it). */
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
  /** Up to the last page that was ever used. */
  readonly neededBytes: number;
};

/**
 * How long an LMDB file is and should be; null where it is none. LMDB maps the file and does not
 * look: reading a page beyond its end would end the process with a SIGBUS.
 */
export function readHead(path: string): FileHead | null {
  const fd = openSync(path, 'r');
  try {
    const first = readMeta(fd, 0);
    const second = first && readMeta(fd, first.pageSize);
    if (first === null || second === null) return null;
    const newest = second.transaction > first.transaction ? second : first;
    return { fileBytes: fstatSync(fd).size, neededBytes: (newest.lastPage + 1) * newest.pageSize };
  } finally {
    closeSync(fd);
  }
}

function readMeta(
  fd: number,
  position: number,
): { pageSize: number; lastPage: number; transaction: number } | null {
  const head = Buffer.alloc(metaBytes);
  if (readSync(fd, head, 0, metaBytes, position) < metaBytes) return null;
  const pageSize = head.readUInt32LE(pageSizeAt);
  const isPage = pageSize >= smallestPage && pageSize <= largestPage;
  if (head.readUInt32LE(magicAt) !== magic || !isPage) return null;
  return {
    pageSize,
    lastPage: Number(head.readBigUInt64LE(lastPageAt)),
    transaction: Number(head.readBigUInt64LE(transactionAt)),
  };
}
