import { statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { DiskSpace } from '../../../src/store/journal/disk-space.js';
import { createManualClock } from '../../support/manual-clock.js';
import { anEvent, someEvents } from '../../support/builders.js';
import { append } from '../contract/harness.js';
import { openTestJournal, type JournalUnderTest } from './under-test.js';

const noPages = { fileBytes: 0, freeBytes: 0 };

async function watch(free: { bytes: number }, { reserveBytes = 100, pages = noPages } = {}) {
  const clock = createManualClock();
  const changes: boolean[] = [];
  const disk = new DiskSpace({
    clock,
    reserveBytes,
    freeBytes: () => Promise.resolve(free.bytes),
    freePages: () => pages,
    onChange: (isLow) => void changes.push(isLow),
  });
  await disk.start();
  return { clock, disk, changes };
}

describe('the free space of the volume', () => {
  it('is read every second and reported at each change', async () => {
    const free = { bytes: 100 };
    const { clock, disk, changes } = await watch(free);
    expect(disk.isLow()).toBe(false);
    free.bytes = 99;
    await clock.advance(999);
    expect(disk.isLow()).toBe(false);
    await clock.advance(1);
    expect(disk.isLow()).toBe(true);
    await clock.advance(5000);
    free.bytes = 100;
    await clock.advance(1000);
    expect(changes).toEqual([true, false]);
    disk.close();
    expect(clock.pending()).toBe(0);
  });

  it('subtracts what was written since it was last read', async () => {
    const free = { bytes: 150 };
    const { clock, disk } = await watch(free);
    disk.recordWrite(50);
    expect(disk.isLow()).toBe(false);
    disk.recordWrite(1);
    expect(disk.isLow()).toBe(true);
    await clock.advance(1000);
    expect(disk.isLow()).toBe(false);
    disk.close();
  });

  it('is that of the volume alone if the journal cannot be read, and is still read', async () => {
    const free = { bytes: 1000 };
    const clock = createManualClock();
    const disk = new DiskSpace({
      clock,
      reserveBytes: 100,
      freeBytes: () => Promise.resolve(free.bytes),
      freePages: () => {
        throw new Error('MDB_PANIC');
      },
      onChange: () => undefined,
    });
    await disk.start();
    expect(disk.isLow()).toBe(false);
    free.bytes = 99;
    await clock.advance(1000);
    expect(disk.isLow()).toBe(true);
    disk.close();
  });

  it('is 0 after a write that found no space, until it is read again', async () => {
    const { clock, disk } = await watch({ bytes: 1000 });
    disk.recordFailure();
    expect(disk.isLow()).toBe(true);
    await clock.advance(1000);
    expect(disk.isLow()).toBe(false);
    disk.close();
  });

  it.each([
    ['free pages of the file count', { fileBytes: 1000, freeBytes: 60 }, 50, false],
    ['free pages count at a quarter of the reserve', { fileBytes: 1000, freeBytes: 80 }, 25, false],
    [
      'free pages count if half of the file is free',
      { fileBytes: 1000, freeBytes: 500 },
      20,
      false,
    ],
    ['too few of them do not help', { fileBytes: 1000, freeBytes: 40 }, 50, true],
    ['scattered ones do not count near the end', { fileBytes: 1000, freeBytes: 400 }, 20, true],
    [
      'they count there, too, once most of the file is free',
      { fileBytes: 1000, freeBytes: 600 },
      20,
      false,
    ],
  ])('%s', async (_name, pages, bytes, isLow) => {
    const { disk } = await watch({ bytes }, { pages });
    expect(disk.isLow()).toBe(isLow);
    disk.close();
  });

  it('is 0 after a write that found no space, also without a reserve', async () => {
    const { clock, disk } = await watch({ bytes: 1000 }, { reserveBytes: 0 });
    disk.recordWrite(5000);
    expect(disk.isLow()).toBe(false);
    disk.recordFailure();
    expect(disk.isLow()).toBe(true);
    await clock.advance(1000);
    expect(disk.isLow()).toBe(false);
    disk.close();
  });

  it.each([
    ['is low without one byte of a reserve of one byte', noPages, { bytes: 1, written: 1 }],
    [
      'is low if free pages of the file do not count',
      { fileBytes: 1000, freeBytes: 100 },
      { bytes: 0, written: 0 },
    ],
  ])('%s', async (_name, pages, { bytes, written }) => {
    const { disk } = await watch({ bytes }, { reserveBytes: 1, pages });
    disk.recordWrite(written);
    expect(disk.isLow()).toBe(true);
    disk.close();
  });

  it('is not checked again if it is closed during a check', async () => {
    const clock = createManualClock();
    const changes: boolean[] = [];
    let finish: (bytes: number) => void = () => undefined;
    const disk = new DiskSpace({
      clock,
      reserveBytes: 100,
      freeBytes: () => new Promise((resolve) => (finish = resolve)),
      freePages: () => noPages,
      onChange: (isLow) => void changes.push(isLow),
    });
    const started = disk.start();
    disk.close();
    finish(0);
    await started;
    expect(clock.pending()).toBe(0);
    expect(changes).toEqual([]);
  });

  it('does not count as low if the volume cannot be read', async () => {
    const clock = createManualClock();
    const disk = new DiskSpace({
      clock,
      reserveBytes: 100,
      freeBytes: () => Promise.reject(new Error('no')),
      freePages: () => noPages,
      onChange: () => undefined,
    });
    await disk.start();
    expect(disk.isLow()).toBe(false);
    expect(await disk.freeBytes()).toBe(Infinity);
    disk.close();
    expect(clock.pending()).toBe(0);
  });
});

describe('a journal on a volume that is nearly full', () => {
  let under: JournalUnderTest;
  afterEach(() => under.close());

  it.each([
    ['accepts if its volume has more than the reserve', 0.5, null],
    ['accepts nothing if its volume has less than the reserve', 2, 'disk'],
  ])('%s', async (_name, share, reason) => {
    const { bavail, bsize } = statfsSync(tmpdir());
    under = await openTestJournal({ reserveBytes: share * bavail * bsize });
    expect(under.store.backpressure()?.reason ?? null).toBe(reason);
  });

  it('accepts nothing, still settles, and accepts again once there is space', async () => {
    const free = { bytes: 100_000_000 };
    under = await openTestJournal({
      // Far above what may be free in the file itself.
      reserveBytes: 50_000_000,
      freeBytes: () => Promise.resolve(free.bytes),
    });
    const { store, clock } = under;
    await append(store, someEvents(2));
    free.bytes = 10_000_000;
    await clock.advance(1000);
    expect(store.backpressure()).toEqual({ reason: 'disk', retryAfterMs: 5000 });
    expect(await store.append([anEvent()])).toMatchObject({ ok: false });
    const items = await store.claim('events', {
      maxCount: 10,
      maxBytes: 1000,
      isolateAfterAttempts: 3,
    });
    await store.settle({
      lane: 'events',
      settled: items
        .flat()
        .map((envelope) => ({ envelope, verdict: { kind: 'ack', as: 'delivered' } })),
    });
    expect(store.depth('events').count).toBe(0);
    free.bytes = 100_000_000;
    await clock.advance(1000);
    expect(store.backpressure()).toBeNull();
    await append(store, [anEvent()]);
  });
});
