import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DeadLetter } from '../../src/envelope.js';
import { openJournal } from '../../src/store/journal/open.js';
import { createManualClock } from '../support/manual-clock.js';
import { describeStore } from './contract.js';
import type { OpenStore } from './contract/harness.js';

const openOnDisk: OpenStore = async (bounds) => {
  const directory = mkdtempSync(join(tmpdir(), 'relay-'));
  const clock = createManualClock();
  const dropped: DeadLetter[] = [];
  const store = await openJournal({
    ...bounds,
    directory,
    clock,
    random: () => 0.5,
    maxHeldBytes: 64 * 1024 * 1024,
    reserveBytes: 0,
    onDeadLetterDropped: (letter) => void dropped.push(letter),
    onSynced: () => undefined,
    onDiskSpace: () => undefined,
    onFault: (error) => {
      throw error;
    },
  });
  return {
    store,
    clock,
    dropped,
    async close() {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

describeStore('journal', openOnDisk, { modelRuns: 30 });
