import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DamagedError } from '../../../src/store/journal/block.js';
import { DedupeLog, type DedupeEntry } from '../../../src/store/journal/dedupe-log.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { createTotals, type Totals } from '../../../src/store/journal/totals.js';
import type { Write } from '../../../src/store/journal/write.js';
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

const maxAgeMs = 10_000;

/** Opens the log and replays it, as a start does. */
function openLog(maxCount = 1000): DedupeLog {
  const log = new DedupeLog(tables, { clock, bounds: { maxAgeMs, maxCount } });
  log.load();
  return log;
}

const run = (writes: readonly Write[]) =>
  tables.environment.batch(() => {
    for (const each of writes) each.run();
  });

/** Accepts an event, as an append does. */
async function add(log: DedupeLog, seq: number, ...keys: readonly string[]): Promise<void> {
  const sequence = totals.nextSeen;
  log.window.add(keys, seq, { at: clock.monotonic(), sequence });
  await run(log.add([{ seq, keys }], totals));
}

const remove = (log: DedupeLog, event: DedupeEntry) => run(log.remove([event], totals));

const numbers = (): readonly number[] => [...tables.dedupe.getKeys()];

describe('the dedupe log after a restart', () => {
  it('has the events that were added and not removed', async () => {
    const log = openLog();
    await add(log, 1, 'ea');
    await add(log, 2, 'eb', 'ec');
    await remove(log, { seq: 1, keys: ['ea'] });
    const { window } = openLog();
    expect([['ea'], ['eb'], ['ec']].map((keys) => window.find(keys))).toEqual([undefined, 2, 2]);
  });

  it.each([
    ['at the start of a millisecond', 0],
    ['within a millisecond', 0.5],
  ])('finds an event, added %s, for the rest of its time', async (_name, fraction) => {
    await clock.advance(fraction);
    await add(openLog(), 1, 'ea');
    await clock.advance(1000);
    const { window } = openLog();
    await clock.advance(maxAgeMs - 1000 - fraction - 0.25);
    expect(window.find(['ea'])).toBe(1);
    await clock.advance(0.25);
    expect(window.find(['ea'])).toBeUndefined();
  });

  it('counts half of the maximum age at most for the time in which no process ran', async () => {
    const log = openLog();
    await add(log, 9, 'ex');
    await clock.advance(1000);
    await add(log, 1, 'ea');
    clock.jump(1e9);
    const { window } = openLog();
    await clock.advance(maxAgeMs / 2 - 1);
    expect(window.find(['ea'])).toBe(1);
    await clock.advance(1);
    expect(window.find(['ea'])).toBeUndefined();
  });

  it('counts that time from the newest event that was added, whatever was removed later', async () => {
    const log = openLog();
    await add(log, 1, 'ea');
    await clock.advance(6000);
    await remove(log, { seq: 9, keys: ['ex'] });
    const { window } = openLog();
    await clock.advance(4999);
    expect(window.find(['ea'])).toBe(1);
    await clock.advance(1);
    expect(window.find(['ea'])).toBeUndefined();
  });

  it('forgets an event with a time in the future after the maximum age', async () => {
    clock.jump(1e9);
    await add(openLog(), 1, 'ea');
    clock.jump(-1e9);
    await add(openLog(), 2, 'eb');
    const { window } = openLog();
    await clock.advance(maxAgeMs - 1);
    expect(window.find(['ea'])).toBe(1);
    await clock.advance(1);
    expect(window.find(['ea'])).toBeUndefined();
  });

  it('is rejected if an entry is of an unknown kind', async () => {
    await add(openLog(), 1, 'ea');
    const entry = Buffer.from(tables.dedupe.get(1)!);
    entry[0] = 9;
    await tables.dedupe.put(1, entry);
    expect(() => openLog()).toThrow(DamagedError);
    expect(() => openLog()).toThrow('entry 1 of seen is of no known kind');
  });
});

describe('an entry of the dedupe log', () => {
  it('is not written for no events', () => {
    const log = openLog();
    expect([log.add([], totals), log.remove([], totals), totals.nextSeen]).toEqual([[], [], 1]);
  });

  it('begins with its kind in format 1: 1 for added events, 2 for removed ones', async () => {
    const log = openLog();
    await add(log, 1, 'ea');
    await remove(log, { seq: 9, keys: ['ex'] });
    expect([1, 2].map((number) => tables.dedupe.get(number)?.[0])).toEqual([1, 2]);
  });

  it('stays while one of its keys or of an earlier entry is valid', async () => {
    const log = openLog();
    for (let seq = 1; seq <= 5; seq++) await add(log, seq, `e${seq}`);
    expect(numbers()).toEqual([1, 2, 3, 4, 5]);
  });

  it('is deleted once no key of it is valid, eight with each write', async () => {
    const log = openLog();
    for (let seq = 1; seq <= 20; seq++) await add(log, seq, `e${seq}`);
    const bounded = openLog(1);
    await add(bounded, 21, 'e21');
    expect(numbers()).toEqual(Array.from({ length: 13 }, (_, index) => index + 9));
    await clock.advance(maxAgeMs);
    await remove(bounded, { seq: 9, keys: ['ex'] });
    expect(numbers()).toEqual([17, 18, 19, 20, 21, 22]);
    await remove(bounded, { seq: 9, keys: ['ex'] });
    expect(numbers()).toEqual([23]);
  });
});
