import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Memo } from '../../../src/envelope.js';
import { openOffline } from '../../../src/store/journal/offline.js';
import { openTables, type Tables } from '../../../src/store/journal/tables.js';
import { someEvents } from '../../support/builders.js';
import { append } from '../contract/harness.js';
import { openTestJournal, type JournalSettings, type JournalUnderTest } from './under-test.js';

let directory: string;
let under: JournalUnderTest;
let syncs: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-memos-'));
});
afterEach(async () => {
  await under.close();
  rmSync(directory, { recursive: true });
});

async function open(settings: JournalSettings = {}): Promise<JournalUnderTest> {
  syncs = 0;
  under = await openTestJournal({ directory, onSynced: () => syncs++, ...settings });
  return under;
}

const file = (): string => join(directory, 'journal.mdb');

const some = (count: number, prefix = 'n'): readonly Memo[] =>
  Array.from({ length: count }, (_, index) => ({ key: `${prefix}${index}`, value: `${index}` }));

/** Closes the journal and does something to what lies on disk. */
async function onDisk(act: (tables: Tables) => unknown): Promise<void> {
  await under.store.close();
  const tables = openTables(file());
  await act(tables);
  await tables.environment.close();
}

/** What is wrong with the closed journal, and how many memos it says that it has. */
async function check(): Promise<{ faults: readonly string[]; memoCount: number }> {
  await under.store.close();
  const offline = await openOffline(under.directory, 0);
  const checked = { faults: [...offline.check()], memoCount: offline.memoCount };
  await offline.close();
  return checked;
}

describe('memos in the journal', () => {
  it('are there after a close, a crash, and a crash in the middle of a write', async () => {
    await open();
    await under.store.remember([{ key: 'a', value: '1' }]);
    await under.reopen();
    await under.store.remember([{ key: 'b', value: '1' }]);
    await under.crash();
    const late = under.store.remember([{ key: 'a', value: '2' }, ...some(500)]);
    await under.crash();
    expect(await late).toMatchObject({ ok: true });
    const [a, b] = await under.store.recall(['a', 'b']);
    // Nobody was answered before the files were copied: all of it is there, or nothing.
    const count = (await under.store.recall(some(500).map(({ key }) => key))).filter(Boolean);
    expect([`1/0`, `2/500`]).toContain(`${a}/${count.length}`);
    expect(b).toBe('1');
    expect((await check()).faults).toEqual([]);
  });

  it('share the sync of the appends that come with them', async () => {
    await open();
    await Promise.all([
      append(under.store, someEvents(2)),
      under.store.remember(some(3)),
      append(under.store, someEvents(2)),
      under.store.remember(some(3, 'm')),
    ]);
    expect(syncs).toBe(1);
  });

  it('need no write where they are known and young, and one where they are old', async () => {
    await open({ maxMemos: 10 });
    await under.store.remember([{ key: 'a', value: '1' }]);
    await under.store.remember(some(4));
    expect(syncs).toBe(2);
    await under.store.remember([{ key: 'a', value: '1' }]);
    expect(syncs).toBe(2);
    await under.store.remember([{ key: 'z', value: '1' }]);
    await under.store.remember([{ key: 'a', value: '1' }]);
    expect(syncs).toBe(4);
    expect(await check()).toEqual({ faults: [], memoCount: 6 });
  });

  it('go little by little where the bound was lowered, oldest first', async () => {
    await open();
    await under.store.remember(some(500));
    await under.reopen({ maxMemos: 10 });
    await under.store.remember([{ key: 'new', value: '1' }]);
    expect(await under.store.recall(['n0', 'n64', 'n65', 'n499'])).toEqual([
      null,
      null,
      '65',
      '499',
    ]);
    for (let turn = 0; turn < 8; turn++) await under.store.remember(some(1, `new${turn}`));
    expect(await under.store.recall(['n498', 'n499', 'new'])).toEqual([null, '499', '1']);
    expect(await check()).toEqual({ faults: [], memoCount: 10 });
  });

  it('are told to nobody where they were switched off, and go', async () => {
    await open();
    await under.store.remember(some(100));
    await under.reopen({ maxMemos: 0 });
    expect(await under.store.recall(['n99'])).toEqual([null]);
    for (let turn = 0; turn < 2; turn++) await under.store.remember(some(1));
    expect(syncs).toBe(3);
    await under.store.remember(some(1));
    expect(syncs).toBe(3);
    expect(await check()).toEqual({ faults: [], memoCount: 0 });
  });

  it('are none in a journal that an older relay made', async () => {
    await open();
    await append(under.store, someEvents(2));
    await onDisk(({ memos, memoOrders }) => Promise.all([memos.drop(), memoOrders.drop()]));
    await open();
    expect(await under.store.recall(['a'])).toEqual([null]);
    await under.store.remember(some(1));
    expect(await under.store.recall(['n0'])).toEqual(['0']);
    expect(under.store.depth('events').count).toBe(2);
    expect(await check()).toEqual({ faults: [], memoCount: 1 });
  });

  it('take pages that are used again', async () => {
    await open({ maxMemos: 2000 });
    const sizes: number[] = [];
    for (let round = 0; round < 60; round++) {
      await under.store.remember(some(200, `${round * 7919}/${'x'.repeat(100)}`));
      sizes.push(statSync(file()).size);
    }
    expect(sizes[59]).toBeLessThanOrEqual(sizes[29]! * 1.1);
    expect((await check()).faults).toEqual([]);
  });

  it('are refused where the disk is nearly full', async () => {
    await open({ reserveBytes: 50_000_000, freeBytes: () => Promise.resolve(10_000_000) });
    expect(await under.store.remember(some(1))).toEqual({
      ok: false,
      refusal: { reason: 'disk', retryAfterMs: 5000 },
    });
    expect(await under.store.remember([])).toEqual({ ok: true });
  });

  it('whose key no table can have are refused by a fault of the caller’s own, and no other is kept', async () => {
    await open();
    for (const key of ['', 'k'.repeat(1979), 'é'.repeat(990)]) {
      await expect(under.store.remember([...some(1), { key, value: '1' }])).rejects.toThrow(
        RangeError,
      );
      await expect(under.store.recall([key])).rejects.toThrow(RangeError);
    }
    expect(await under.store.recall(['n0'])).toEqual([null]);
    await under.store.remember([{ key: 'k'.repeat(1978), value: '1' }]);
    expect(await under.store.recall(['k'.repeat(1978)])).toEqual(['1']);
    expect(under.faults).toEqual([]);
  });
});

describe('what is checked of memos', () => {
  const names = /jane@example/;
  const memo = { key: 'order/jane@example.com', value: 'jane@example.com is someone' };

  it.each([
    [
      'one that is not there',
      (tables: Tables) => tables.memos.remove(Buffer.from(memo.key)),
      ['memo 2 is not there', 'there are 1 memos, and 2 in the order of their age'],
    ],
    [
      'one without a place',
      ({ memoOrders }: Tables) => memoOrders.remove(2),
      ['there are 2 memos, and 1 in the order of their age'],
    ],
    [
      'one in another place',
      async ({ memoOrders }: Tables) => {
        await memoOrders.remove(2);
        await memoOrders.put(7, Buffer.from(memo.key));
      },
      ['memo 7 has another number than its index'],
    ],
    [
      'one that lies under another key',
      async ({ memos }: Tables) => {
        const other = memos.get(Buffer.from('n0'));
        await memos.put(Buffer.from(memo.key), Buffer.from(other!));
      },
      [expect.stringContaining('memo 2 has a wrong checksum')],
    ],
  ])('tells of %s, and names no key', async (_name, act, expected) => {
    await open();
    await under.store.remember([...some(1), memo]);
    await onDisk(act);
    const { faults } = await check();
    expect(faults).toEqual(expected);
    expect(faults.join()).not.toMatch(names);
  });

  it('is known when it is recalled, too: nobody is told of another person', async () => {
    await open();
    await under.store.remember([memo]);
    await under.store.close();
    const bytes = readFileSync(file());
    const at = bytes.indexOf('is someone');
    for (let from = at; from !== -1; from = bytes.indexOf('is someone', from + 1)) {
      bytes[from + 3] = bytes[from + 3]! ^ 1;
    }
    writeFileSync(file(), bytes);
    await open();
    const error: unknown = await under.store.recall([memo.key]).catch((reason: unknown) => reason);
    expect(String(error)).toContain('the journal is damaged: a memo has a wrong checksum');
    expect(String(error)).not.toMatch(names);
  });
});
