import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  JournalDeliveryLog,
  type WrittenDelivery,
} from '../../../src/store/journal/delivery-log.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { createTotals, type Totals } from '../../../src/store/journal/totals.js';
import { aDelivery } from '../../support/builders.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;
let clock: ManualClock;
let totals: Totals;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
  clock = createManualClock();
  totals = createTotals();
});
afterEach(() => temporary.close());

const openLog = (bounds = { maxCount: 1000, maxAgeMs: 10_000 }): JournalDeliveryLog =>
  new JournalDeliveryLog(tables, bounds, clock);

const written = (
  id: string,
  delivered: readonly number[] = [],
  merged: readonly number[] = [],
): WrittenDelivery => ({ delivery: aDelivery({ id, at: clock.now() }), delivered, merged });

const write = (log: JournalDeliveryLog, deliveries: readonly WrittenDelivery[]) =>
  tables.environment.batch(() => {
    for (const { run } of log.write(deliveries, totals)) run();
  });

const idsOf = async (log: JournalDeliveryLog, cursor?: string): Promise<readonly string[]> => {
  const page = { limit: 100, ...(cursor !== undefined && { cursor }) };
  return (await log.list({}, page, totals)).data.map(({ id }) => id);
};

describe('the delivery log of the journal', () => {
  it('finds a delivery by its id of up to 100 characters', async () => {
    const log = openLog();
    const longest = 'd'.repeat(100);
    await write(log, [written('dl_1'), written(longest)]);
    const find = (id: string) => log.find(id, totals)?.id ?? null;
    expect([find('dl_1'), find(longest)]).toEqual(['dl_1', longest]);
    expect(['', 'dl_2', 'd'.repeat(101), 'd'.repeat(5000)].map(find)).toEqual(Array(4).fill(null));
    expect(log.find('', totals)).toBeNull();
    expect(await idsOf(log, '!')).toEqual([]);
  });

  it('knows which delivery settled an envelope, and how', async () => {
    const log = openLog();
    await write(log, [written('dl_1', [1, 2, 5], [3]), written('dl_2', [8])]);
    const settledBy = (seq: number) => log.settledBy('events', seq, totals);
    const [first, second] = [{ deliveryId: 'dl_1' }, { deliveryId: 'dl_2' }];
    expect([1, 2, 3, 5].map(settledBy)).toEqual([
      { ...first, merged: false },
      { ...first, merged: false },
      { ...first, merged: true },
      { ...first, merged: false },
    ]);
    expect(settledBy(8)).toEqual({ ...second, merged: false });
    expect([4, 6, 9].map(settledBy)).toEqual([null, null, null]);
    expect(log.settledBy('profiles', 1, totals)).toBeNull();
  });

  it('keeps what a delivery settled when it is written again', async () => {
    const log = openLog();
    await write(log, [written('dl_1', [1], [2])]);
    await write(log, [written('dl_2', [3])]);
    await write(log, [written('dl_1', [4], [5])]);
    expect(await idsOf(log)).toEqual(['dl_2', 'dl_1']);
    expect([1, 2, 4, 5].map((seq) => log.settledBy('events', seq, totals)?.merged)).toEqual([
      false,
      true,
      false,
      true,
    ]);
    expect(tables.deliveries.getKeysCount()).toBe(2);
    await clock.advance(10_001);
    await write(log, [written('dl_3')]);
    expect([tables.deliveries, tables.settled].map((table) => table.getKeysCount())).toEqual([
      1, 0,
    ]);
  });

  it('hides the oldest at once if its bounds are lowered, and removes eight with each delivery', async () => {
    const before = openLog();
    for (let number = 1; number <= 20; number++)
      await write(before, [written(`dl_${number}`, [number])]);
    const log = openLog({ maxCount: 3, maxAgeMs: 10_000 });
    expect(await idsOf(log)).toEqual(['dl_20', 'dl_19', 'dl_18']);
    expect(log.find('dl_17', totals)).toBeNull();
    expect(log.settledBy('events', 17, totals)).toBeNull();
    expect(log.settledBy('events', 18, totals)).not.toBeNull();
    expect(log.write([], totals)).toEqual([]);
    await write(log, [written('dl_21', [21])]);
    const counts = () =>
      [tables.deliveries, tables.deliveryOrders, tables.settled].map((table) =>
        table.getKeysCount(),
      );
    expect(counts()).toEqual([13, 13, 13]);
    await write(log, [written('dl_22', [22]), written('dl_23', [23])]);
    expect(await idsOf(log)).toEqual(['dl_23', 'dl_22', 'dl_21']);
    await write(log, [written('dl_24', [24])]);
    expect(counts()[0]).toBeLessThanOrEqual(5);
  });

  it('shows a delivery for exactly its maximum age, and removes it afterwards', async () => {
    const log = openLog();
    await write(log, [written('dl_1', [1])]);
    await clock.advance(10_000);
    expect(await idsOf(log)).toEqual(['dl_1']);
    await clock.advance(1);
    expect(await idsOf(log)).toEqual([]);
    expect(log.find('dl_1', totals)).toBeNull();
    await write(log, [written('dl_2')]);
    expect(tables.deliveries.getKeysCount()).toBe(1);
    expect(tables.settled.getKeysCount()).toBe(0);
  });

  it('counts half of the maximum age at most for the time in which no process ran', async () => {
    const before = openLog();
    await write(before, [written('dl_1')]);
    await clock.advance(1000);
    await write(before, [written('dl_2')]);
    clock.jump(1e9);
    const log = openLog();
    await clock.advance(5000);
    expect(await idsOf(log)).toEqual(['dl_2']);
    await clock.advance(1);
    expect(await idsOf(log)).toEqual([]);
  });
});
