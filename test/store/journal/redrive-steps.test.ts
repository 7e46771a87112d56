import { afterEach, expect, it } from 'vitest';
import type { JournalStore } from '../../../src/store/journal/journal.js';
import { someEvents } from '../../support/builders.js';
import { append, deadLetterAll, claim } from '../contract/harness.js';
import { openTestJournal, type JournalUnderTest } from './under-test.js';

const count = 1000;
const opened: JournalUnderTest[] = [];
afterEach(async () => {
  for (const under of opened.splice(0)) await under.close();
});

const listIds = async (store: JournalStore): Promise<readonly string[]> =>
  (await store.deadLetters({}, { limit: count })).data.map(({ id }) => id);

/** Dead letters, and a redrive or a discard of all of them that has done a part. */
async function startInTheMiddle(work: 'redrive' | 'discard') {
  const under = await openTestJournal();
  opened.push(under);
  await append(under.store, someEvents(count));
  await deadLetterAll(under.store);
  const all = [...(await listIds(under.store))].sort();
  const done = under.store[work]({}, { dryRun: false });
  const ended = done.then(
    () => 'done',
    () => 'broken off',
  );
  while ((await listIds(under.store)).length === count) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { under, all, ended };
}

it.each(['crash', 'reopen'] as const)(
  'a redrive that a %s ends leaves each dead letter where it was or redriven, and none twice',
  async (end) => {
    const { under, all, ended } = await startInTheMiddle('redrive');
    await under[end]();
    if (end === 'reopen') expect(await ended).toBe('broken off');
    const left = await listIds(under.store);
    const redriven = (await claim(under.store, { maxCount: 2 * count })).flat();
    expect(left.length).toBeGreaterThan(0);
    expect(redriven.length).toBeGreaterThan(0);
    expect([...left, ...redriven.map(({ id }) => id)].sort()).toEqual(all);
    expect(under.store.depth('events')).toMatchObject({
      count: redriven.length,
      deadLetters: left.length,
    });
  },
);

it.each([
  ['a dry run', {}, count],
  ['a redrive that matches nothing', { reason: 'none' }, 0],
] as const)(
  'others are served while %s looks at all dead letters',
  async (_name, filter, found) => {
    const under = await openTestJournal();
    opened.push(under);
    await append(under.store, someEvents(count));
    await deadLetterAll(under.store);
    const state = { iterations: 0, isDone: false };
    const looked = under.store.redrive(filter, { dryRun: found > 0 });
    void looked.then(() => (state.isDone = true));
    for (; !state.isDone; state.iterations++) await new Promise((resolve) => setImmediate(resolve));
    expect(await looked).toBe(found);
    expect(state.iterations).toBeGreaterThanOrEqual(4);
  },
);

it('a redrive that was ended is completed by the next', async () => {
  const { under } = await startInTheMiddle('redrive');
  await under.reopen();
  const left = await listIds(under.store);
  expect(await under.store.redrive({}, { dryRun: false })).toBe(left.length);
  expect((await claim(under.store, { maxCount: 2 * count })).flat()).toHaveLength(count);
  expect(await listIds(under.store)).toEqual([]);
});

it('a discard that is ended leaves what it did not reach', async () => {
  const { under, all } = await startInTheMiddle('discard');
  await under.reopen();
  const left = await listIds(under.store);
  expect(left.length).toBeGreaterThan(0);
  expect(left.length).toBeLessThan(count);
  expect([...left].sort().every((id) => all.includes(id))).toBe(true);
  expect(under.store.depth('events')).toMatchObject({ count: 0, deadLetters: left.length });
});
