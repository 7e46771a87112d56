import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openTables } from '../../../src/store/journal/tables.js';
import { verify } from '../../../src/store/journal/verify.js';
import { ack, anEvent, settledAs, someEvents } from '../../support/builders.js';
import { append, appendIds, claim } from '../contract/harness.js';
import { openTestJournal, type JournalUnderTest } from './under-test.js';

let under: JournalUnderTest;
afterEach(() => under.close());

/** What is on disk after the journal was closed: errors, and the bytes of the blocks. */
async function readClosed(): Promise<{ errors: readonly string[]; blocks: readonly Buffer[] }> {
  await under.store.close();
  const tables = openTables(join(under.directory, 'journal.mdb'));
  try {
    const blocks = [...tables.blocks.getRange()].map(({ value }) => Buffer.from(value));
    return { errors: [...verify(tables)], blocks };
  } finally {
    await tables.environment.close();
  }
}

const toHeld = (id: string) => ({
  envelopes: [{ id, lane: 'events', state: 'buffered', acceptedAt: 0 } as const],
  deadLetters: [],
  facts: [],
});

describe('an erased envelope', () => {
  it('leaves no content in its block, and the block goes with its last other envelope', async () => {
    under = await openTestJournal();
    const drafts = [anEvent({ text: 'secret' }), anEvent({ text: 'kept' })];
    const [erased = ''] = await appendIds(under.store, drafts);
    await under.store.erase(toHeld(erased));
    const closed = await readClosed();
    expect(closed.errors).toEqual([]);
    expect(closed.blocks.map((block) => block.includes('secret'))).toEqual([false]);
    expect(closed.blocks.map((block) => block.includes('kept'))).toEqual([true]);
  });

  it('does not keep its block alive', async () => {
    under = await openTestJournal();
    const [erased = ''] = await appendIds(under.store, someEvents(2));
    await under.store.erase(toHeld(erased));
    const settled = settledAs(await claim(under.store), ack);
    expect(settled).toHaveLength(1);
    await under.store.settle({ lane: 'events', settled });
    expect(await readClosed()).toEqual({ errors: [], blocks: [] });
  });

  it('is removed from a block that is on disk only', async () => {
    under = await openTestJournal({ maxWorkingSetBytes: 1 });
    await append(under.store, someEvents(1));
    const drafts = [anEvent({ text: 'secret' }), anEvent({ text: 'kept' })];
    const [erased = ''] = await appendIds(under.store, drafts);
    await under.store.erase(toHeld(erased));
    expect(under.store.depth('events').count).toBe(2);
    const { errors, blocks } = await readClosed();
    expect(errors).toEqual([]);
    expect(blocks.some((block) => block.includes('secret'))).toBe(false);
  });
});
