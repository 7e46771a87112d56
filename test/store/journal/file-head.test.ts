import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readHead, readTransaction } from '../../../src/store/journal/file-head.js';

type Meta = { readonly transaction: number; readonly lastPage: number };

let directory: string;
let fds: number[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-head-'));
  fds = [];
});
afterEach(() => {
  fds.forEach((fd) => closeSync(fd));
  rmSync(directory, { recursive: true });
});

function open(content: Buffer): number {
  const path = join(directory, 'file');
  writeFileSync(path, content);
  const fd = openSync(path, 'r');
  fds.push(fd);
  return fd;
}

/** The start of an LMDB file: two meta pages, in the layout of mdb.c. */
function toFile(pageSize: number, metas: readonly [Meta, Meta]): Buffer {
  const bytes = Buffer.alloc(2 * pageSize);
  for (const [page, { transaction, lastPage }] of metas.entries()) {
    const at = page * pageSize;
    bytes.writeUInt32LE(0xbeefc0de, at + 24);
    bytes.writeUInt32LE(pageSize, at + 48);
    bytes.writeBigUInt64LE(BigInt(lastPage), at + 144);
    bytes.writeBigUInt64LE(BigInt(transaction), at + 152);
  }
  return bytes;
}

const older = { transaction: 7, lastPage: 10 };
const newer = { transaction: 8, lastPage: 20 };

describe('the head of an LMDB file', () => {
  it.each([
    ['the second', [older, newer]],
    ['the first', [newer, older]],
  ] as const)('is the newest of two meta pages: %s', (_name, metas) => {
    const fd = open(toFile(4096, metas));
    expect(readTransaction(fd)).toBe(8);
    expect(readHead(fd)).toEqual({ fileBytes: 2 * 4096, neededBytes: 21 * 4096 });
  });

  it.each([512, 4096, 8192, 16_384, 65_536])('is found with pages of %d bytes', (pageSize) => {
    const fd = open(toFile(pageSize, [older, newer]));
    expect(readHead(fd)).toEqual({ fileBytes: 2 * pageSize, neededBytes: 21 * pageSize });
  });

  it.each([256, 131_072])('cannot have pages of %d bytes', (pageSize) => {
    const fd = open(toFile(pageSize, [older, newer]));
    expect([readHead(fd), readTransaction(fd)]).toEqual([null, null]);
  });

  it.each([
    ['the first', 24],
    ['the second', 4096 + 24],
  ])('is not there without the mark of LMDB in %s meta page', (_name, at) => {
    const bytes = toFile(4096, [older, newer]);
    bytes.writeUInt32LE(0xdeadbeef, at);
    expect(readHead(open(bytes))).toBeNull();
  });

  it('is there as soon as both meta pages are', () => {
    const bytes = toFile(4096, [older, newer]);
    const least = 4096 + 168;
    expect(readHead(open(bytes.subarray(0, least)))?.fileBytes).toBe(least);
    expect(readHead(open(bytes.subarray(0, least - 1)))).toBeNull();
    expect(readHead(open(bytes.subarray(0, 167)))).toBeNull();
    expect(readHead(open(Buffer.alloc(0)))).toBeNull();
  });
});
