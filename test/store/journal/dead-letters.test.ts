import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { JournalDeadLetters } from '../../../src/store/journal/dead-letters.js';
import type { JournalDeadLetter } from '../../../src/store/journal/dead-letter-codec.js';
import { openTables, type Tables } from '../../../src/store/journal/tables.js';
import { createTotals, copyTotals } from '../../../src/store/journal/totals.js';
import type { Write } from '../../../src/store/journal/write.js';
import { aReason, toBytes } from '../../support/builders.js';

let directory: string;
let tables: Tables;
let letters: JournalDeadLetters;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-letters-'));
  tables = openTables(join(directory, 'journal.mdb'));
  letters = new JournalDeadLetters(tables, 2);
});
afterEach(async () => {
  await tables.environment.close();
  rmSync(directory, { recursive: true });
});

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
