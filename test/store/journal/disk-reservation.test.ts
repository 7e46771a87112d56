import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  DiskReservationError,
  DiskReservation,
  countNeededBytes,
} from '../../../src/store/journal/disk-reservation.js';

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

describe('what a transaction may need', () => {
  it('grows with what it writes, and an append leaves some for the settlement that makes room', () => {
    const write = (bytes: number) => ({ bytes, run: () => undefined });
    const settlement = countNeededBytes([write(1000)], false);
    expect(countNeededBytes([write(1000), write(5000)], false)).toBeGreaterThan(
      settlement + 10_000,
    );
    expect(countNeededBytes([write(1000)], true) - settlement).toBe(1024 * 1024);
  });
});
