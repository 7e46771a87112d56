import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  DiskReservationError,
  DiskReservation,
  countNeededBytes,
} from '../../../src/store/journal/disk-reservation.js';
import { readUsedBytes } from '../../../src/store/journal/free-pages.js';
import { openTables } from '../../../src/store/journal/tables.js';
import { put } from '../../../src/store/journal/write.js';

const chunkBytes = 4 * 1024 * 1024;

let directory: string;
let path: string;
let room: DiskReservation;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'relay-room-'));
  path = join(directory, 'file');
  writeFileSync(path, 'as it was');
  room = await DiskReservation.open(path);
});
afterEach(async () => {
  await room.close();
  rmSync(directory, { recursive: true });
});

const blocks = (): number => statSync(path).blocks * 512;

describe("room at the end of the journal's file", () => {
  it('is written, not just claimed, a chunk at a time, and only where there is too little', async () => {
    await room.reserve({ usedBytes: 0, bytes: 1000 });
    const size = 9 + chunkBytes;
    expect([statSync(path).size, room.endBytes]).toEqual([size, size]);
    expect(blocks()).toBeGreaterThanOrEqual(chunkBytes);
    await room.reserve({ usedBytes: 1000, bytes: size - 1000 });
    expect(room.endBytes).toBe(size);
    await room.reserve({ usedBytes: 1001, bytes: size - 1000 });
    expect(room.endBytes).toBe(size + chunkBytes);
  });

  it('grows by as many chunks as are needed', async () => {
    await room.reserve({ usedBytes: 0, bytes: 3 * chunkBytes });
    expect(room.endBytes).toBe(9 + 3 * chunkBytes);
  });

  it('that does not fit on the volume rejects with DiskReservationError', async () => {
    const onFullDisk = await DiskReservation.open('/dev/full');
    const error: unknown = await onFullDisk
      .reserve({ usedBytes: 0, bytes: 1 })
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DiskReservationError);
    expect(error).toMatchObject({ name: 'DiskReservationError', cause: { code: 'ENOSPC' } });
    expect(onFullDisk.endBytes).toBe(0);
    await onFullDisk.close();
  });

  it('that cannot be written for another reason than a full disk is a fault', async () => {
    await room.close();
    const closed = room.reserve({ usedBytes: 0, bytes: 1 }).catch((error: unknown) => error);
    await room.reserve({ usedBytes: 0, bytes: 9 });
    expect(await closed).toBeUndefined();
    const failed = await room.reserve({ usedBytes: 9, bytes: 1 }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(Error);
    expect(failed).not.toBeInstanceOf(DiskReservationError);
    room = await DiskReservation.open(path);
  });
});

describe('the space that is reserved for a transaction', () => {
  const toWrites = (count: number, bytes: number) =>
    Array.from({ length: count }, () => ({ bytes, run: () => undefined }));

  it('grows with what it writes, and an append leaves some for the settlement that makes room', () => {
    const settlement = countNeededBytes(toWrites(1, 1000), false);
    expect(countNeededBytes([...toWrites(1, 1000), ...toWrites(1, 5000)], false)).toBeGreaterThan(
      settlement + 10_000,
    );
    expect(countNeededBytes(toWrites(1, 1000), true) - settlement).toBe(1024 * 1024);
  });

  it('is so little that a settlement fits on a disk that is nearly full', () => {
    expect(countNeededBytes(toWrites(3, 300), false)).toBeLessThan(600_000);
    expect(countNeededBytes(toWrites(1000, 100), false)).toBeLessThan(2_000_000);
  });

  it.each([
    ['one small value', 1, 1],
    ['many small values under scattered keys', 5000, 50],
    ['values that fill a page and a little of the next', 100, 4100],
    ['a large value', 1, 5_000_000],
  ])('is enough for %s', async (_name, count, bytes) => {
    const tables = openTables(join(directory, 'journal.mdb'));
    const writes = Array.from({ length: count }, (_, index) => {
      const key = Buffer.from(`${(index * 7919) % 10_007}/${'k'.repeat(100)}`);
      return put(tables.facts, key, Buffer.alloc(bytes));
    });
    const before = readUsedBytes(tables);
    await tables.environment.batch(() => {
      for (const { run } of writes) run();
    });
    expect(readUsedBytes(tables) - before).toBeGreaterThan(count * bytes);
    expect(readUsedBytes(tables) - before).toBeLessThanOrEqual(countNeededBytes(writes, false));
    await tables.environment.close();
  });
});
