import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { laneTraits, type StoreLane } from '../../../src/model/lane.js';
import { encodeBlock } from '../../../src/store/journal/block.js';
import { readTotals } from '../../../src/store/journal/read-totals.js';
import { freshKind, redrivenKind, type Tables } from '../../../src/store/journal/tables.js';
import { copyTotals, createLaneTotals, createTotals } from '../../../src/store/journal/totals.js';
import { openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
});
afterEach(() => temporary.close());

/** Writes the totals without some lanes, as a version without these lanes does. */
async function putWithout(...absent: readonly StoreLane[]): Promise<void> {
  const totals = createTotals();
  const lanes = Object.entries(totals.lanes).filter(
    ([lane]) => !absent.includes(lane as StoreLane),
  );
  await tables.meta.put('totals', { ...totals, lanes: Object.fromEntries(lanes) });
}

/** Writes a block with payloads of two bytes. */
async function putBlock(lane: StoreLane, kind: number, seqs: readonly number[]): Promise<void> {
  const payload = Buffer.from('{}');
  const entries = seqs.map((seq) => ({ seq, acceptedAt: 0, keys: [], payload }));
  await tables.blocks.put([laneTraits[lane].number, kind, seqs[0]!], encodeBlock(entries));
}

describe('the totals of the journal', () => {
  it('are read as they were written', async () => {
    const totals = copyTotals(createTotals());
    totals.nextDelivery = 7;
    Object.assign(totals.lanes.profiles, { nextSeq: 5, count: 4, bytes: 30, delivered: 2 });
    await tables.meta.put('totals', totals);
    expect(readTotals(tables)).toEqual(totals);
  });

  it('are copied with those of each lane', () => {
    const totals = createTotals();
    const copy = copyTotals(totals);
    expect(copy).toEqual(totals);
    copy.lanes.events.count++;
    copy.nextLetter++;
    expect(totals).toEqual(createTotals());
  });

  it.each(['events', 'profiles'] as const)('cannot be read without the lane %s', async (lane) => {
    await putWithout(lane);
    expect(readTotals(tables)).toBeNull();
  });

  it.each([
    ['are absent', undefined],
    ['have a negative number', { ...createTotals(), nextDelivery: -1 }],
    ['have a number that is not whole', { ...createTotals(), nextDelivery: 1.5 }],
  ])('cannot be read if they %s', async (_name, totals) => {
    if (totals !== undefined) await tables.meta.put('totals', totals);
    expect(readTotals(tables)).toBeNull();
  });

  it('may contain lanes of a newer version', async () => {
    const { lanes, ...others } = createTotals();
    const newer = { ...lanes, later: createLaneTotals() };
    await tables.meta.put('totals', { ...others, lanes: newer });
    expect(readTotals(tables)).toEqual(createTotals());
  });

  it('of a lane that an older version does not know are counted again', async () => {
    await putWithout('subscribe', 'waiting');
    await putBlock('subscribe', freshKind, [3, 4, 5]);
    await putBlock('subscribe', freshKind, [8]);
    await putBlock('subscribe', redrivenKind, [2, 1]);
    await putBlock('unsubscribe', freshKind, [20]);
    await putBlock('waiting', freshKind, [7]);
    // Number 4 is settled.
    await tables.states.put([laneTraits.subscribe.number, freshKind, 3], {
      runs: [
        [1, 0],
        [1, 1],
        [1, 0],
      ],
      trials: [],
    });
    const { subscribe, waiting, events } = readTotals(tables)!.lanes;
    const empty = createLaneTotals();
    expect(subscribe).toEqual({ ...empty, nextSeq: 9, count: 5, bytes: 15, accepted: 5 });
    expect(waiting).toEqual({ ...empty, nextSeq: 8, count: 1, bytes: 3, accepted: 1 });
    expect(events).toEqual(empty);
  });
});
