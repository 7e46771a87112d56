import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../src/clock.js';
import type { DeadLetter } from '../../../src/model/dead-letter.js';
import type { JournalStore } from '../../../src/store/journal/journal.js';
import { openJournal, type OpenJournalOptions } from '../../../src/store/journal/open.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { wideBounds, type StoreBounds, type StoreUnderTest } from '../contract/harness.js';

export type JournalUnderTest = StoreUnderTest & {
  readonly store: JournalStore;
  readonly directory: string;
  readonly faults: readonly unknown[];
  crash(): Promise<void>;
  /** Closes it, and opens it again with other settings. */
  reopen(overrides?: Partial<OpenJournalOptions>): Promise<void>;
};

export type JournalSettings = Partial<StoreBounds> &
  Partial<OpenJournalOptions> & { readonly clock?: ManualClock };

/** A journal in a directory of its own, on a manual clock. */
export async function openTestJournal(settings: JournalSettings = {}): Promise<JournalUnderTest> {
  const { clock = createManualClock() } = settings;
  const made: string[] = [];
  const dropped: DeadLetter[] = [];
  const faults: unknown[] = [];
  const newDirectory = (): string => {
    const directory = mkdtempSync(join(tmpdir(), 'relay-journal-'));
    made.push(directory);
    return directory;
  };
  const open = (directory: string, overrides: Partial<OpenJournalOptions> = {}) =>
    openJournal({
      ...wideBounds,
      random: () => 0.5,
      maxWorkingSetBytes: 64 * 1024 * 1024,
      reserveBytes: 0,
      syncLimit: { clock: systemClock, ms: 60_000 },
      onDeadLetterDropped: (letter) => void dropped.push(letter),
      onSynced: () => undefined,
      onDiskSpace: () => undefined,
      onExposedFile: () => undefined,
      onFatal: (error) => void faults.push(error),
      ...settings,
      ...overrides,
      clock,
      directory,
    });
  let directory = settings.directory ?? newDirectory();
  let store = await open(directory);
  return {
    clock,
    dropped,
    faults,
    get store() {
      return store;
    },
    get directory() {
      return directory;
    },
    async crash() {
      // The files as they lie there: what a process that ends here and now would leave.
      const left = newDirectory();
      cpSync(directory, left, { recursive: true });
      await store.close();
      directory = left;
      store = await open(directory);
    },
    async reopen(overrides) {
      await store.close();
      store = await open(directory, overrides);
    },
    async close() {
      await store.close();
      for (const each of made) rmSync(each, { recursive: true, force: true });
    },
  };
}
