import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createJournalState, type JournalState } from '../../../src/store/journal/journal-state.js';
import { openTables, type Tables } from '../../../src/store/journal/tables.js';
import { createManualClock, type ManualClock } from '../../support/manual-clock.js';
import { wideBounds } from '../contract/harness.js';

export type TemporaryTables = {
  readonly directory: string;
  readonly tables: Tables;
  /** Closes the tables and deletes the directory. */
  close(): Promise<void>;
};

/** Opens the tables of an empty journal in a directory of its own. */
export function openTemporaryTables(): TemporaryTables {
  const directory = mkdtempSync(join(tmpdir(), 'relay-journal-'));
  const tables = openTables(join(directory, 'journal.mdb'));
  return {
    directory,
    tables,
    async close() {
      await tables.environment.close();
      rmSync(directory, { recursive: true });
    },
  };
}

/** The state of a journal that has not loaded anything. */
export const createEmptyState = (
  tables: Tables,
  {
    clock = createManualClock(),
    maxWorkingSetBytes = 1_000_000,
  }: { readonly clock?: ManualClock; readonly maxWorkingSetBytes?: number } = {},
): JournalState =>
  createJournalState({
    ...wideBounds,
    clock,
    tables,
    epoch: 'abcdef',
    maxWorkingSetBytes,
    onClaimable: () => undefined,
    onDeadLetterDropped: () => undefined,
  });
