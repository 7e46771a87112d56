import { afterEach, expect, it } from 'vitest';
import { toGroupedPayload } from '../../../src/model/group.js';
import { ack, aDraft, settledAs, someProfiles } from '../../support/builders.js';
import { append, claim } from '../contract/harness.js';
import { openTestJournal, type JournalUnderTest } from './under-test.js';

let under: JournalUnderTest;
afterEach(() => under.close());

it('an envelope waits while earlier ones of another lane are on disk only, since these could be of its person', async () => {
  // Memory for one block of profiles: the others stay on disk.
  under = await openTestJournal({ maxWorkingSetBytes: 1 });
  const { store } = under;
  for (let block = 0; block < 3; block++) await append(store, someProfiles(2));
  await append(store, [aDraft('subscribe', { text: toGroupedPayload('', '{}', 0) })]);
  for (let block = 0; block < 2; block++) {
    const items = await claim(store, {}, 'profiles');
    expect(items).toHaveLength(2);
    expect(await claim(store, {}, 'subscribe')).toEqual([]);
    await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
  }
  // The last block is loaded now, and none of its profiles is of the same person.
  expect(await claim(store, {}, 'profiles')).toHaveLength(2);
  expect(await claim(store, {}, 'subscribe')).toHaveLength(1);
});
