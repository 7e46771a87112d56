import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockingLanes, lanes, laneTraits, type StoreLane } from '../../../src/model/lane.js';
import { createStates } from '../../../src/store/journal/backlog.js';
import { type JournalState } from '../../../src/store/journal/journal-state.js';
import { freshKind, type Tables } from '../../../src/store/journal/tables.js';
import { createEmptyState, openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

const smallLanes = lanes.filter((lane) => laneTraits[lane].numberedWith !== undefined);
const largeLanes = lanes.filter((lane) => !smallLanes.includes(lane));

/** What an envelope takes: 2 bytes of payload, a separator, and 600 bytes for the object. */
const envelopeBytes = 603;
/** Envelopes that fit into the whole memory; each lane's share is a whole number of them. */
const count = 8 * 10 * largeLanes.length * smallLanes.length;

let temporary: TemporaryTables;
let tables: Tables;
let state: JournalState;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
  state = createEmptyState(tables, { maxWorkingSetBytes: count * envelopeBytes });
});
afterEach(() => temporary.close());

/** Adds twice as many envelopes as the whole memory holds. Returns how many are in memory then. */
function fill(lane: StoreLane): number {
  for (let seq = 1; seq <= 2 * count; seq++) {
    state.lanes[lane].add({
      block: {
        key: [laneTraits[lane].number, freshKind, seq],
        isRedriven: false,
        states: createStates(1),
      },
      entries: [{ seq, acceptedAt: 0, keys: [], payload: Buffer.from('{}') }],
    });
  }
  return state.lanes[lane].inMemory().count;
}

describe('the memory of the journal', () => {
  it('is for the large lanes, except for an eighth that the small ones share', () => {
    for (const lane of largeLanes) expect(fill(lane)).toBe((count * 7) / 8 / largeLanes.length);
    const bounded = smallLanes.filter((lane) => !blockingLanes.includes(lane));
    for (const lane of bounded) expect(fill(lane)).toBe(count / 8 / smallLanes.length);
  });

  it.each(['waiting', ...blockingLanes] as const)(
    'does not bound the lane %s, which must be in memory as a whole',
    (lane) => {
      expect(fill(lane)).toBe(2 * count);
    },
  );
});
