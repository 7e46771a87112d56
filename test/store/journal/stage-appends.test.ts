import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Draft } from '../../../src/model/envelope.js';
import { toKeyedFact } from '../../../src/store/journal/fact.js';
import { type JournalState } from '../../../src/store/journal/journal-state.js';
import { stageAppends } from '../../../src/store/journal/stage-appends.js';
import { countDraftBytes, countIntakeBytes } from '../../../src/store/journal/stage-intake.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { copyTotals, createTotals } from '../../../src/store/journal/totals.js';
import { anEvent, aProfile, aReason, someEvents } from '../../support/builders.js';
import { wideBounds } from '../contract/harness.js';
import { createEmptyState, openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;
let state: JournalState;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
  state = createEmptyState(tables);
});
afterEach(() => temporary.close());

const stage = (drafts: readonly Draft[]) =>
  stageAppends([drafts], copyTotals(createTotals()), state);

describe('staged appends', () => {
  it('that are rolled back leave nothing behind: their events are no repeats', async () => {
    const events = [anEvent({ keys: ['ea'] }), anEvent({ keys: ['eb', 'ec'] })];
    const failed = await stage(events);
    failed.rolledBack?.();
    const [appended] = await (await stage(events)).committed();
    expect(appended?.map(({ duplicate }) => duplicate)).toEqual([false, false]);
    const [repeated] = await (await stage(events)).committed();
    expect(repeated?.map(({ duplicate }) => duplicate)).toEqual([true, true]);
  });

  it('give back the space that repeats and dead letters do not need', async () => {
    const { maxCount, maxBytes } = wideBounds.capacity;
    const text = '{}';
    state.admission.add(3, 9);
    const drafts = [
      anEvent({ text, keys: ['ea'] }),
      anEvent({ text, keys: ['ea'] }),
      anEvent({ text, deadLetterReason: aReason() }),
    ];
    await (await stage(drafts)).committed();
    expect(state.admission.backpressure(maxCount - 1, maxBytes - 3)).toBeNull();
    expect(state.admission.backpressure(maxCount, 0)).not.toBeNull();
    expect(state.admission.backpressure(0, maxBytes - 2)).not.toBeNull();
  });

  it('treat a draft with known keys as a repeat only if it is an event', async () => {
    const add = async (draft: Draft) => (await (await stage([draft])).committed())[0]?.[0];
    await add(anEvent({ keys: ['ea'] }));
    expect(await add(aProfile({ keys: ['ea'] }))).toMatchObject({ duplicate: false });
    await add(aProfile({ keys: ['eb'] }));
    expect(await add(anEvent({ keys: ['eb'] }))).toMatchObject({ duplicate: false });
  });

  it.each([
    [5000, 1],
    [5001, 2],
  ])('of %d events are %d entries of the dedupe log', async (count, entries) => {
    const { writes } = await stage(someEvents(count));
    await tables.environment.batch(() => {
      for (const { run } of writes) run();
    });
    expect(tables.dedupe.getKeysCount()).toBe(entries);
  });

  it('of a thousand events let other work run about every 250 events', async () => {
    const turns = { count: 0, isDone: false };
    const staged = stage(someEvents(1000)).finally(() => (turns.isDone = true));
    for (; !turns.isDone; turns.count++) await new Promise((resolve) => setImmediate(resolve));
    await staged;
    expect(turns.count).toBeGreaterThanOrEqual(3);
    expect(turns.count).toBeLessThan(20);
  });
});

it('a request counts with its payloads, a separator for each, and what its facts may write', () => {
  const drafts = [anEvent({ text: '{}' }), anEvent({ text: '{"a":1}' })];
  expect(countDraftBytes(drafts)).toBe(3 + 8);
  const facts = [toKeyedFact({ kind: 'order', key: 'a', value: 'né' })];
  expect(countIntakeBytes({ drafts, facts: [] })).toBe(11);
  const writeBytes = state.facts.stage(facts).writes.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(writeBytes).toBeGreaterThan(4096);
  expect(countIntakeBytes({ drafts, facts })).toBeGreaterThanOrEqual(11 + writeBytes);
});
