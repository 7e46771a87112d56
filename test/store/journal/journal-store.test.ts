import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { anEvent, aProfile, someEvents } from '../../support/builders.js';
import { append } from '../contract/harness.js';
import { openTestJournal, type JournalSettings, type JournalUnderTest } from './under-test.js';

let under: JournalUnderTest;
afterEach(() => under.close());

async function open(settings: JournalSettings = {}): Promise<JournalUnderTest> {
  under = await openTestJournal(settings);
  return under;
}

it('the journal notifies each listener once for each lane of an append, until it is removed', async () => {
  const { store } = await open();
  const notified: string[] = [];
  const removeListener = store.onClaimable((lane) => void notified.push(lane));
  await append(store, [anEvent(), aProfile(), anEvent()]);
  expect(notified).toEqual(['events', 'profiles']);
  removeListener();
  await append(store, [anEvent()]);
  expect(notified).toHaveLength(2);
});

it('the journal counts an append for its capacity before it is written', async () => {
  const { store } = await open({ capacity: { maxCount: 3, maxBytes: 1000 } });
  const results = await Promise.all([
    store.append(someEvents(2)),
    store.append(someEvents(2)),
    store.append([anEvent({ text: 'x'.repeat(999) })]),
    store.append(someEvents(1)),
  ]);
  expect(results.map(({ ok }) => ok)).toEqual([true, false, false, true]);
});

it('the journal subtracts accepted bytes from the free space that it measured', async () => {
  const { store } = await open({
    reserveBytes: 50_000_000,
    freeBytes: () => Promise.resolve(50_500_000),
  });
  expect(store.backpressure()).toBeNull();
  // The file of a new journal has some free pages, too.
  await append(store, [anEvent({ text: 'x'.repeat(9_000_000) })]);
  expect(store.backpressure()?.reason).toBe('disk');
});

it('a closed journal accepts nothing and says so, and can be closed again', async () => {
  const { store, clock } = await open();
  await Promise.all([store.close(), store.close()]);
  await store.close();
  const closed = { reason: 'closed', retryAfterMs: 1000 };
  expect(store.backpressure()).toEqual(closed);
  expect(await store.append([anEvent()])).toEqual({ ok: false, backpressure: closed });
  expect(clock.pending()).toBe(0);
});

it('a journal that has failed needs no timer, and says that it is unavailable also when it is closed', async () => {
  const { store, clock, directory, faults } = await open();
  rmSync(join(directory, 'journal.mdb'));
  expect((await store.append([anEvent()])).ok).toBe(false);
  expect(faults).toHaveLength(1);
  // The disk is still watched.
  expect(clock.pending()).toBe(1);
  const fact = { kind: 'order', key: 'a', value: '1' } as const;
  expect(await store.putFacts([fact])).toMatchObject({ ok: false });
  await store.close();
  expect(store.backpressure()?.reason).toBe('unavailable');
});
