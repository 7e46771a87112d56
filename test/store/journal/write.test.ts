import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Tables } from '../../../src/store/journal/tables.js';
import { put, remove, type Write } from '../../../src/store/journal/write.js';
import { openTemporaryTables, type TemporaryTables } from './temporary-tables.js';

let temporary: TemporaryTables;
let tables: Tables;

beforeEach(() => {
  temporary = openTemporaryTables();
  ({ tables } = temporary);
});
afterEach(() => temporary.close());

const run = (write: Write) => tables.environment.batch(() => void write.run());

it('a write of bytes stores them unchanged, and tells their number before', async () => {
  const bytes = Buffer.from('[1,2]');
  const write = put(tables.dedupe, 1, bytes);
  expect(write.bytes).toBe(5);
  await run(write);
  expect(tables.dedupe.get(1)).toEqual(bytes);
});

it('a write of any other value stores what it was when the write was made', async () => {
  const value: Record<string, string> = { name: 'né' };
  const write = put(tables.meta, 'it', value);
  expect(write.bytes).toBe(Buffer.byteLength('{"name":"né"}'));
  value.name = 'changed';
  await run(write);
  expect(tables.meta.get('it')).toEqual({ name: 'né' });
});

it('a removal has no bytes', async () => {
  await run(put(tables.meta, 'it', 1));
  const write = remove(tables.meta, 'it');
  expect(write.bytes).toBe(0);
  await run(write);
  expect(tables.meta.get('it')).toBeUndefined();
});
