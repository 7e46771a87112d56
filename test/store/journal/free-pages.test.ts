import { afterEach, beforeEach, expect, it } from 'vitest';
import { readFreePages, readUsedBytes } from '../../../src/store/journal/free-pages.js';
import { type Tables } from '../../../src/store/journal/tables.js';
import { openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

const pageBytes = 4096;
let temporary: TemporaryTables;
let tables: Tables;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
});
afterEach(() => temporary.close());

const inUse = (): number => {
  const { fileBytes, freeBytes } = readFreePages(tables, 0);
  return fileBytes - freeBytes;
};

it('a new journal uses its two heads, the list of its tables and the list of free pages', () => {
  expect(inUse()).toBe(4 * pageBytes);
});

it('an entry uses pages until it is removed, and the file stays as long as it was', async () => {
  const key: [number, number, number] = [0, 1, 1];
  await tables.blocks.put(key, Buffer.alloc(25 * pageBytes - 100));
  // A leaf of the table, and the value in pages of its own.
  expect(inUse()).toBe((4 + 1 + 25) * pageBytes);
  const { fileBytes } = readFreePages(tables, 0);
  expect(readUsedBytes(tables)).toBe(fileBytes);
  await tables.blocks.remove(key);
  expect(inUse()).toBe(4 * pageBytes);
  expect(readFreePages(tables, 0).fileBytes).toBe(fileBytes);
});

it('the pages of a table with many entries are its leaves and the branches above them', async () => {
  await tables.environment.batch(() => {
    for (let number = 0; number < 400; number++)
      void tables.deadLetters.put(number, Buffer.alloc(1900));
  });
  const { treeBranchPageCount: branches, treeLeafPageCount: leaves } =
    tables.deadLetters.getStats() as Record<string, number>;
  expect(branches).toBeGreaterThan(1);
  expect(inUse()).toBe((4 + leaves! + branches!) * pageBytes);
});

it('space behind the pages counts as free', () => {
  const before = readFreePages(tables, 0);
  const { fileBytes, freeBytes } = readFreePages(tables, before.fileBytes + 10_000);
  expect(fileBytes).toBe(before.fileBytes + 10_000);
  expect(freeBytes).toBe(before.freeBytes + 10_000);
});
