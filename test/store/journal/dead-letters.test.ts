import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JournalDeadLetters } from '../../../src/store/journal/dead-letters.js';
import type { JournalDeadLetter } from '../../../src/store/journal/dead-letter-codec.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { createTotals, copyTotals } from '../../../src/store/journal/totals.js';
import type { Write } from '../../../src/store/journal/write.js';
import { aReason, toBytes } from '../../support/builders.js';
import { createManualClock } from '../../support/manual-clock.js';
import { openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;
let letters: JournalDeadLetters;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
  letters = new JournalDeadLetters(tables, 2);
});
afterEach(() => temporary.close());

const aLetter = (seq: number): JournalDeadLetter => ({
  id: `ev_abcdef_${seq}`,
  lane: 'events',
  seq,
  keys: [],
  acceptedAt: 0,
  deadLetteredAt: 0,
  attempts: 0,
  reason: aReason(),
  deliveryId: null,
  payload: toBytes('{}'),
});

const run = (writes: readonly Write[]) =>
  tables.environment.transaction(() => writes.forEach((write) => write.run()));
const scan = () => letters.scan(() => true, { from: 0, below: 100, limit: 100 }).found;
const toSeqs = (dropped: readonly JournalDeadLetter[]) => dropped.map(({ seq }) => seq);

it('what a group takes out is gone for the rest of it, and is there again where nothing was written', async () => {
  const totals = createTotals();
  await run(letters.add([aLetter(1), aLetter(2)], totals).writes);
  for (let attempt = 0; attempt < 2; attempt++) {
    letters.beginGroup();
    const draft = copyTotals(totals);
    expect(toSeqs(letters.add([aLetter(3)], draft).dropped)).toEqual([1]);
    expect(scan().map(({ deadLetter: letter }) => letter.seq)).toEqual([2]);
    expect(toSeqs(letters.add([aLetter(4)], draft).dropped)).toEqual([2]);
    expect(scan()).toEqual([]);
    expect(draft.lanes.events.deadLetters).toBe(2);
  }
});

describe('a scan of dead letters', () => {
  it('stops after as many as its limit, and tells where it continues', async () => {
    await run(letters.add([aLetter(1), aLetter(2)], createTotals()).writes);
    const scanOne = (from: number) => letters.scan(() => true, { from, below: 100, limit: 1 });
    expect(scanOne(0)).toMatchObject({ found: [{ order: 1 }], next: 2 });
    expect(scanOne(2)).toMatchObject({ found: [{ order: 2 }], next: null });
    expect(scanOne(3)).toEqual({ found: [], next: null });
  });

  it('counts those that do not match for its limit, and leaves out those from `below` on', async () => {
    await run(letters.add([aLetter(1), aLetter(2)], createTotals()).writes);
    const isSecond = ({ id }: { readonly id: string }): boolean => id === 'ev_abcdef_2';
    expect(letters.scan(isSecond, { from: 0, below: 3, limit: 1 })).toEqual({ found: [], next: 2 });
    expect(letters.scan(isSecond, { from: 0, below: 2, limit: 9 })).toEqual({
      found: [],
      next: null,
    });
  });
});

it('a dead letter is found by its id, and no other text finds one', async () => {
  await run(letters.add([aLetter(1)], createTotals()).writes);
  expect(letters.find('ev_abcdef_1')).toMatchObject({ id: 'ev_abcdef_1', seq: 1 });
  expect(
    ['', 'dl_1', 'ev_ffffff_1', 'pr_abcdef_1', 'ev_abcdef_2'].map((id) => letters.find(id)),
  ).toEqual([null, null, null, null, null]);
  await tables.deadLetters.remove(1);
  expect(letters.find('ev_abcdef_1')).toBeNull();
});

it('a page of dead letters from an invalid cursor is empty', async () => {
  await run(letters.add([aLetter(1)], createTotals()).writes);
  const page = (cursor?: string) =>
    letters.list({}, { limit: 10, ...(cursor !== undefined && { cursor }) }, createManualClock());
  expect((await page()).data).toHaveLength(1);
  expect(await page('!')).toEqual({ data: [], next: null });
});
