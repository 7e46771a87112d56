import { describe, expect, it } from 'vitest';
import { describeStore } from './contract.js';
import { describeModel } from './contract/model.js';
import { useStores } from './contract/harness.js';
import { openTestJournal } from './journal/under-test.js';

describeStore('journal', openTestJournal, { modelRuns: 15 });

describe('the journal store with a very small working set', () => {
  describeModel(
    // A lane holds one envelope at a time, and more where something waits for its key.
    async (bounds) => {
      const under = await openTestJournal({ ...bounds, maxWorkingSetBytes: 1000 });
      return {
        clock: under.clock,
        dropped: under.dropped,
        pages: true,
        get store() {
          return under.store;
        },
        crash: () => under.crash(),
        close: () => under.close(),
      };
    },
    15,
  );
});

describe('the journal store alone', () => {
  const open = useStores(openTestJournal);

  it('reports durability on this disk', async () => {
    const { store } = await open();
    expect(store).toMatchObject({ durability: 'disk', durable: true });
    expect(await store.unfinishedImportJobs()).toEqual([]);
  });
});
