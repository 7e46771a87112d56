import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { factKinds, type Fact } from '../../../src/model/fact.js';
import { openOffline } from '../../../src/store/journal/offline.js';
import { openTables, type Tables } from '../../../src/store/journal/tables.js';
import { someEvents } from '../../support/builders.js';
import { append, atMost, factBounds } from '../contract/harness.js';
import { encodeLegacyFact } from './legacy-fact.js';
import { openTestJournal, type JournalSettings, type JournalUnderTest } from './under-test.js';

let directory: string;
let under: JournalUnderTest;
let syncs: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-facts-'));
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

const some = (count: number, prefix = 'n'): readonly Fact[] =>
  Array.from({ length: count }, (_, index) => ({
    kind: 'order',
    key: `${prefix}${index}`,
    value: `${index}`,
  }));

/** Closes the journal and does something to what lies on disk. */
async function onDisk(act: (tables: Tables) => unknown): Promise<void> {
  await under.store.close();
  const tables = openTables(file());
  await act(tables);
  await tables.environment.close();
}

/** What is wrong with the closed journal, and how many facts it says that it has. */
async function check(): Promise<{ faults: readonly string[]; factCount: number }> {
  await under.store.close();
  const offline = await openOffline(under.directory, 0);
  const checked = { faults: [...offline.check()], factCount: offline.factCount };
  await offline.close();
  return checked;
}

describe('facts in the journal', () => {
  it('survive a close, a crash, and a crash in the middle of a write', async () => {
    await open();
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    await under.reopen();
    await under.store.putFacts([{ kind: 'order', key: 'b', value: '1' }]);
    await under.crash();
    const late = under.store.putFacts([{ kind: 'order', key: 'a', value: '2' }, ...some(500)]);
    await under.crash();
    expect(await late).toMatchObject({ ok: true });
    const [a, b] = await under.store.getFacts(['a', 'b']);
    // Nobody was answered before the files were copied: all of it is there, or nothing.
    const count = (await under.store.getFacts(some(500).map(({ key }) => key))).filter(Boolean);
    expect([`1/0`, `2/500`]).toContain(`${a}/${count.length}`);
    expect(b).toBe('1');
    expect((await check()).faults).toEqual([]);
  });

  it('share the sync of the appends that come with them', async () => {
    await open();
    await Promise.all([
      append(under.store, someEvents(2)),
      under.store.putFacts(some(3)),
      append(under.store, someEvents(2)),
      under.store.putFacts(some(3, 'm')),
    ]);
    expect(syncs).toBe(1);
  });

  it('that are stored again with the same value are written only if they are old', async () => {
    await open({ facts: atMost(10) });
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    await under.store.putFacts(some(4));
    expect(syncs).toBe(2);
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    expect(syncs).toBe(2);
    await under.store.putFacts([{ kind: 'order', key: 'z', value: '1' }]);
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    expect(syncs).toBe(4);
    expect(await check()).toEqual({ faults: [], factCount: 6 });
  });

  it('that are stored again with the same value are written after a tenth of their maximum age', async () => {
    await open({ facts: factBounds({ order: 1000 }) });
    await under.store.putFacts(some(1));
    await under.clock.advance(99);
    await under.store.putFacts(some(1));
    expect(syncs).toBe(1);
    await under.clock.advance(1);
    await under.store.putFacts(some(1));
    expect(syncs).toBe(2);
    await under.clock.advance(999);
    expect(await under.store.getFacts(['n0'])).toEqual(['0']);
  });

  it('expire at their maximum age also if they were stored at a fraction of a millisecond', async () => {
    await open({ facts: factBounds({ order: 1000 }) });
    await under.clock.advance(0.5);
    await under.store.putFacts(some(1));
    await under.clock.advance(999.5);
    expect(await under.store.getFacts(['n0'])).toEqual([null]);
  });

  it('of several kinds in one call are counted for the bound of their own kind', async () => {
    await open({ facts: atMost(10) });
    const users = (count: number, prefix: string) =>
      some(count, prefix).map((fact) => ({ ...fact, kind: 'user' as const }));
    await under.store.putFacts([...some(8), ...users(8, 'u')]);
    await under.store.putFacts(some(8).map((fact) => ({ ...fact, value: 'new' })));
    await under.store.putFacts(some(2, 'm'));
    expect(await under.store.getFacts(['n0', 'm1', 'u0'])).toEqual(['new', '1', '0']);
    await under.store.putFacts([...some(2, 'o'), ...users(1, 'v')]);
    expect(await under.store.getFacts(['n1', 'n2', 'u0'])).toEqual([null, 'new', '0']);
    await under.store.putFacts(users(2, 'w'));
    expect(await under.store.getFacts(['n2', 'u0', 'u1'])).toEqual(['new', null, '1']);
    expect(await check()).toEqual({ faults: [], factCount: 20 });
  });

  it('are not removed by appends without facts', async () => {
    await open({ facts: factBounds({ delivery: 1000 }) });
    await under.store.putFacts([{ kind: 'delivery', key: 'd', value: '1' }]);
    await under.clock.advance(1000);
    for (let turn = 0; turn < 8; turn++) await append(under.store, someEvents(1));
    expect((await check()).factCount).toBe(1);
  });

  it('that have expired are removed by facts of another kind', async () => {
    await open({ facts: factBounds({ user: 1000 }) });
    await under.store.putFacts([{ kind: 'user', key: 'u', value: '1' }]);
    await under.clock.advance(1000);
    for (let turn = 0; turn < 8; turn++) await under.store.putFacts(some(1, `m${turn}`));
    expect((await check()).factCount).toBe(8);
  });

  it('are written in two groups if one group would be too large', async () => {
    await open();
    await Promise.all([under.store.putFacts(some(300)), under.store.putFacts(some(300, 'm'))]);
    expect(syncs).toBe(1);
    await Promise.all([under.store.putFacts(some(600, 'o')), under.store.putFacts(some(600, 'p'))]);
    expect(syncs).toBe(3);
  });

  it('count as written bytes for the free space of the disk', async () => {
    await open({ reserveBytes: 50_000_000, freeBytes: () => Promise.resolve(51_000_000) });
    expect(under.store.backpressure()).toBeNull();
    const value = 'x'.repeat(10_000_000);
    await under.store.putFacts([{ kind: 'order', key: 'a', value }]);
    expect(under.store.backpressure()?.reason).toBe('disk');
  });

  it('are removed in small steps, oldest first, after the bound was lowered', async () => {
    await open();
    await under.store.putFacts(some(500));
    await under.reopen({ facts: atMost(10) });
    await under.store.putFacts([{ kind: 'order', key: 'new', value: '1' }]);
    expect(await under.store.getFacts(['n0', 'n64', 'n65', 'n499'])).toEqual([
      null,
      null,
      '65',
      '499',
    ]);
    for (let turn = 0; turn < 8; turn++) await under.store.putFacts(some(1, `new${turn}`));
    expect(await under.store.getFacts(['n498', 'n499', 'new'])).toEqual([null, '499', '1']);
    expect(await check()).toEqual({ faults: [], factCount: 10 });
  });

  it('are neither returned nor kept when they are switched off', async () => {
    await open();
    await under.store.putFacts(some(100));
    await under.reopen({ facts: atMost(0) });
    expect(await under.store.getFacts(['n99'])).toEqual([null]);
    for (let turn = 0; turn < 2; turn++) await under.store.putFacts(some(1));
    expect(syncs).toBe(3);
    await under.store.putFacts(some(1));
    expect(syncs).toBe(3);
    expect(await check()).toEqual({ faults: [], factCount: 0 });
  });

  it('can be stored in a journal that an older relay created', async () => {
    await open();
    await append(under.store, someEvents(2));
    await onDisk(({ facts, factOrders, legacyFacts, legacyFactOrders }) =>
      Promise.all([facts, factOrders, legacyFacts, legacyFactOrders].map((table) => table.drop())),
    );
    await open();
    expect(await under.store.getFacts(['a'])).toEqual([null]);
    await under.store.putFacts(some(1));
    expect(await under.store.getFacts(['n0'])).toEqual(['0']);
    expect(under.store.depth('events').count).toBe(2);
    expect(await check()).toEqual({ faults: [], factCount: 1 });
  });

  it('reuse free pages of the file', async () => {
    await open({ facts: atMost(2000) });
    const sizes: number[] = [];
    for (let round = 0; round < 60; round++) {
      await under.store.putFacts(some(200, `${round * 7919}/${'x'.repeat(100)}`));
      sizes.push(statSync(file()).size);
    }
    expect(sizes[59]).toBeLessThanOrEqual(sizes[29]! * 1.1);
    expect((await check()).faults).toEqual([]);
  });

  it('are rejected with backpressure when the disk is nearly full', async () => {
    await open({ reserveBytes: 50_000_000, freeBytes: () => Promise.resolve(10_000_000) });
    expect(await under.store.putFacts(some(1))).toEqual({
      ok: false,
      backpressure: { reason: 'disk', retryAfterMs: 5000 },
    });
    expect(await under.store.putFacts([])).toEqual({ ok: true });
  });

  it('with a key that is too long are rejected with a RangeError, and none of the call is stored', async () => {
    await open();
    for (const key of ['', 'k'.repeat(1979), 'é'.repeat(990)]) {
      await expect(
        under.store.putFacts([...some(1), { kind: 'order', key, value: '1' }]),
      ).rejects.toThrow(RangeError);
      await expect(under.store.getFacts([key])).rejects.toThrow(RangeError);
    }
    expect(await under.store.getFacts(['n0'])).toEqual([null]);
    await under.store.putFacts([{ kind: 'order', key: 'k'.repeat(1978), value: '1' }]);
    expect(await under.store.getFacts(['k'.repeat(1978)])).toEqual(['1']);
    expect(under.faults).toEqual([]);
  });
});

/** As an earlier version would: at the end of its order, and in the place of what it knew. */
const writeMemos = (count: number, prefix: string, from = 1) =>
  onDisk(async ({ legacyFacts, legacyFactOrders }) => {
    for (const [index, { key, value }] of some(count, prefix).entries()) {
      await legacyFacts.put(Buffer.from(key), encodeLegacyFact(key, from + index, value));
      await legacyFactOrders.put(from + index, Buffer.from(key));
    }
  });

describe('facts of an earlier version', () => {
  it('are found at any age and do not count for the bounds of a kind', async () => {
    await open({ facts: factBounds({ order: 1000, user: 1000 }, 10) });
    await writeMemos(5, 'old');
    await under.reopen();
    expect(await under.store.getFacts(['old0', 'old4', 'x'])).toEqual(['0', '4', null]);
    await under.clock.advance(1e9);
    await under.store.putFacts(
      Array.from({ length: 50 }, (_, index) => ({
        kind: 'delivery',
        key: `d${index}`,
        value: '1',
      })),
    );
    expect(await under.store.getFacts(['old0', 'old4', 'd40'])).toEqual(['0', '4', '1']);
    expect(await check()).toEqual({ faults: [], factCount: 15 });
  });

  it('are removed, oldest first, as facts about people replace them', async () => {
    await open({ facts: atMost(10) });
    await writeMemos(8, 'old');
    await under.reopen();
    await under.store.putFacts(some(4));
    expect(await under.store.getFacts(['old0', 'old1', 'old2', 'n0'])).toEqual([
      null,
      null,
      '2',
      '0',
    ]);
    await under.store.putFacts(some(10));
    expect(await under.store.getFacts(['old2', 'old7', 'n0', 'n9'])).toEqual([
      null,
      null,
      '0',
      '9',
    ]);
    expect(await check()).toEqual({ faults: [], factCount: 10 });
  });

  it('are removed only as far as newer facts need their place', async () => {
    await open({ facts: atMost(10) });
    await writeMemos(8, 'old');
    await under.reopen();
    await under.store.putFacts(some(4));
    await under.store.putFacts(some(1, 'm'));
    await under.store.putFacts([{ kind: 'order', key: 'old3', value: 'new' }]);
    expect(await under.store.getFacts(['old2', 'old3', 'old4'])).toEqual([null, 'new', '4']);
    expect(await check()).toEqual({ faults: [], factCount: 10 });
  });

  it('are replaced by facts with the same key', async () => {
    await open();
    await writeMemos(3, 'n');
    await under.reopen();
    await under.store.putFacts([{ kind: 'order', key: 'n1', value: 'new' }]);
    expect(await under.store.getFacts(['n0', 'n1', 'n2'])).toEqual(['0', 'new', '2']);
    await under.reopen();
    expect(await under.store.getFacts(['n0', 'n1', 'n2'])).toEqual(['0', 'new', '2']);
    expect(await check()).toEqual({ faults: [], factCount: 3 });
  });

  it('that it wrote after this version used the directory are the newer ones', async () => {
    await open();
    await under.store.putFacts([
      { kind: 'order', key: 'n0', value: 'mine' },
      { kind: 'order', key: 'n1', value: 'mine' },
    ]);
    await writeMemos(1, 'n');
    await under.reopen();
    expect(await under.store.getFacts(['n0', 'n1'])).toEqual(['0', 'mine']);
    await under.store.putFacts([{ kind: 'order', key: 'n0', value: 'mine' }]);
    expect(await under.store.getFacts(['n0', 'n1'])).toEqual(['mine', 'mine']);
    expect(await check()).toEqual({ faults: [], factCount: 2 });
  });

  it('are checked, and a damaged one is reported by its number', async () => {
    await open();
    await writeMemos(2, 'n');
    await onDisk(({ legacyFacts }) =>
      legacyFacts.put(Buffer.from('n1'), encodeLegacyFact('n0', 2, 'x')),
    );
    await under.reopen();
    expect((await check()).faults).toEqual([
      expect.stringContaining('memo 2 has a wrong checksum'),
    ]);
  });
});

describe('the age of facts over a restart', () => {
  const day = 86_400_000;

  it('follows a jump of the wall clock by at most half of the bound', async () => {
    await open({ facts: factBounds({ order: 10 * day }) });
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    under.clock.jump(1000 * day);
    expect(await under.store.getFacts(['a'])).toEqual(['1']);
    await under.reopen();
    expect(await under.store.getFacts(['a'])).toEqual(['1']);
    await under.clock.advance(4 * day);
    expect(await under.store.getFacts(['a'])).toEqual(['1']);
    await under.clock.advance(1 * day);
    expect(await under.store.getFacts(['a'])).toEqual([null]);
  });

  it('does not grow while the wall clock is set back, and continues from there', async () => {
    await open({ facts: factBounds({ order: 10 * day }) });
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    under.clock.jump(-1000 * day);
    await under.reopen();
    await under.store.putFacts([{ kind: 'order', key: 'b', value: '1' }]);
    await under.clock.advance(10 * day - 1);
    expect(await under.store.getFacts(['a', 'b'])).toEqual(['1', '1']);
    await under.clock.advance(1);
    expect(await under.store.getFacts(['a', 'b'])).toEqual([null, null]);
  });

  it('is the elapsed time when the clock is right', async () => {
    await open({ facts: factBounds({ order: 10 * day }) });
    await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }]);
    await under.store.close();
    await under.clock.advance(4 * day);
    await under.reopen();
    await under.clock.advance(6 * day - 1);
    expect(await under.store.getFacts(['a'])).toEqual(['1']);
    await under.clock.advance(1);
    expect(await under.store.getFacts(['a'])).toEqual([null]);
  });

  it('removes expired facts in small steps with each write, one kind after the other', async () => {
    await open({ facts: factBounds({ delivery: 1000 }) });
    await under.store.putFacts(
      some(200, 'd').map((fact) => ({ ...fact, kind: 'delivery' as const })),
    );
    await under.clock.advance(1000);
    await under.store.putFacts(some(8));
    // Each write has the turn of one kind.
    const turns = factKinds.length;
    for (let turn = 0; turn < turns - 1; turn++) await under.store.putFacts(some(1, `m${turn}/`));
    const left = (await check()).factCount;
    expect(left).toBeGreaterThanOrEqual(7 + turns + 200 - 2 * 72);
    expect(left).toBeLessThan(7 + turns + 200);
    await under.reopen();
    await under.clock.advance(1000);
    for (let turn = 0; turn < 4 * turns; turn++) await under.store.putFacts(some(1, `l${turn}/`));
    expect(await check()).toEqual({ faults: [], factCount: 7 + turns + 4 * turns });
  });
});

it('a fact of an unknown kind is reported as damage when it is read', async () => {
  await open();
  await under.store.putFacts(some(1));
  await onDisk(async ({ facts }) => {
    const key = Buffer.from('n0');
    const bytes = Buffer.from(facts.get(key)!);
    bytes.writeUInt8(99, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(4), crc32(key)), 0);
    await facts.put(key, bytes);
  });
  await under.reopen();
  await expect(under.store.getFacts(['n0'])).rejects.toThrow('a fact is of no known kind');
});

describe('the check of facts', () => {
  const names = /jane@example/;
  const fact: Fact = {
    kind: 'order',
    key: 'order/jane@example.com',
    value: 'jane@example.com is someone',
  };

  it.each([
    [
      'one that is not there',
      (tables: Tables) => tables.facts.remove(Buffer.from(fact.key)),
      ['fact 2 of order is not there', 'there are 1 facts, and 2 in the order of their age'],
    ],
    [
      'one without a place',
      ({ factOrders }: Tables) => factOrders.remove([1, 2]),
      ['there are 2 facts, and 1 in the order of their age'],
    ],
    [
      'one in another place',
      async ({ factOrders }: Tables) => {
        const place = factOrders.get([1, 2])!;
        await factOrders.remove([1, 2]);
        await factOrders.put([1, 7], place);
      },
      ['fact 7 of order has another place than its index'],
    ],
    [
      'one that lies under another key',
      async ({ facts }: Tables) => {
        const other = facts.get(Buffer.from('n0'));
        await facts.put(Buffer.from(fact.key), Buffer.from(other!));
      },
      [expect.stringContaining('fact 2 of order has a wrong checksum')],
    ],
  ])('tells of %s, and names no key', async (_name, act, expected) => {
    await open();
    await under.store.putFacts([...some(1), fact]);
    await onDisk(act);
    const { faults } = await check();
    expect(faults).toEqual(expected);
    expect(faults.join()).not.toMatch(names);
  });

  it('also runs when a fact is read, so that no request gets a fact of another person', async () => {
    await open();
    await under.store.putFacts([fact]);
    await under.store.close();
    const bytes = readFileSync(file());
    const at = bytes.indexOf('is someone');
    for (let from = at; from !== -1; from = bytes.indexOf('is someone', from + 1)) {
      bytes[from + 3] = bytes[from + 3]! ^ 1;
    }
    writeFileSync(file(), bytes);
    await open();
    const error: unknown = await under.store
      .getFacts([fact.key])
      .catch((reason: unknown) => reason);
    expect(String(error)).toContain('the journal is damaged: a fact has a wrong checksum');
    expect(String(error)).not.toMatch(names);
  });
});
