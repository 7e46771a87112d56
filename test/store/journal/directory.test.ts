import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readHead } from '../../../src/store/journal/file-head.js';
import { openOffline } from '../../../src/store/journal/offline.js';
import { openTables } from '../../../src/store/journal/tables.js';
import {
  ack,
  anEvent,
  bounds,
  retry,
  settledAs,
  someEvents,
  startMs,
} from '../../support/builders.js';
import { append, deadLetterAll } from '../contract/harness.js';
import { openTestJournal } from './under-test.js';

let directory: string;
const file = (): string => join(directory, 'journal.mdb');

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-directory-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A journal with something in it, closed. Returns the bytes of its file. */
async function makeJournal(): Promise<Buffer> {
  const { store } = await openTestJournal({ directory });
  await append(store, someEvents(3, 'gone'));
  await deadLetterAll(store);
  for (let turn = 0; turn < 20; turn++) await append(store, someEvents(50, 'x'.repeat(500)));
  await store.close();
  return readFileSync(file());
}

const why = async (open: () => Promise<unknown>): Promise<string> => {
  try {
    await open();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'it was opened';
};

describe('a data directory', () => {
  it('is created if it is missing, with access for its owner only', async () => {
    const path = join(directory, 'a', 'b');
    const { store } = await openTestJournal({ directory: path });
    expect(statSync(path).mode & 0o777).toBe(0o700);
    await store.close();
  });

  it('belongs to one process: a second one gets an error that names the first', async () => {
    const { store } = await openTestJournal({ directory });
    const text = await why(() => openTestJournal({ directory }));
    expect(text).toContain(`DATA_DIR ${directory} is held by process ${process.pid} on `);
    expect(text).toContain(new Date(startMs).toISOString());
    expect(await why(() => openOffline(directory, startMs))).toContain('is held by process');
    await store.close();
    const { store: next } = await openTestJournal({ directory });
    await next.close();
  });

  it('with other files in it is rejected and left unchanged', async () => {
    writeFileSync(join(directory, 'precious.db'), 'data');
    expect(await why(() => openTestJournal({ directory }))).toContain(
      'is not empty and holds no journal (precious.db)',
    );
    expect(readFileSync(join(directory, 'precious.db'), 'utf8')).toBe('data');
    expect(existsSync(file())).toBe(false);
  });

  it('can be the root of a volume', async () => {
    mkdirSync(join(directory, 'lost+found'));
    writeFileSync(join(directory, '.keep'), '');
    const { store } = await openTestJournal({ directory });
    await store.close();
  });

  it.each([
    ['empty', 0],
    ['a few bytes long', 100],
    ['a page of zeros', 4096],
  ])(
    'whose journal was being made when the process was killed, its draft %s, is begun anew',
    async (_what, bytes) => {
      for (const name of ['draft.mdb', 'draft.mdb-lock']) {
        writeFileSync(join(directory, name), Buffer.alloc(bytes));
      }
      const { store } = await openTestJournal({ directory });
      await append(store, someEvents(3));
      await store.close();
      const names = readdirSync(directory).sort();
      expect(names).toEqual(['journal.mdb', 'journal.mdb-lock', 'relay.lock']);
      for (const name of names.slice(0, 2)) {
        expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
      }
      const again = await openTestJournal({ directory });
      expect(again.store.depth('events').count).toBe(3);
      await again.store.close();
    },
  );

  it.each([
    [
      'no LMDB file at all',
      'is damaged: journal.mdb is no LMDB file',
      'not a database'.repeat(1000),
    ],
    ['an empty file', 'is damaged: journal.mdb is no LMDB file', ''],
  ])('that holds %s is refused', async (_name, says, content) => {
    writeFileSync(file(), content);
    expect(await why(() => openTestJournal({ directory }))).toContain(says);
    expect(readFileSync(file(), 'utf8')).toBe(content);
  });

  it("that holds somebody else's LMDB file is refused", async () => {
    const tables = openTables(file());
    await tables.meta.put('format', { application: 'another', version: 1 });
    await tables.environment.close();
    expect(await why(() => openTestJournal({ directory }))).toContain(
      "holds a journal that is not klaviyo-relay's",
    );
  });

  it('with a truncated file is rejected and left unchanged', async () => {
    const whole = await makeJournal();
    // Behind it lies room that is written ahead.
    const fd = openSync(file(), 'r');
    const { neededBytes } = readHead(fd)!;
    closeSync(fd);
    for (const share of [0.9, 0.5, 0.1]) {
      const bytes = Math.floor((neededBytes * share) / 4096) * 4096;
      writeFileSync(file(), whole);
      truncateSync(file(), bytes);
      const text = await why(() => openTestJournal({ directory }));
      expect(text).toContain(`is damaged: ${bytes} of ${neededBytes} bytes are there`);
      expect(statSync(file()).size).toBe(bytes);
    }
    writeFileSync(file(), whole);
    const { store } = await openTestJournal({ directory });
    expect(store.depth('events').count).toBe(1000);
    await store.close();
  });

  it('with a file that lacks only an unused page is accepted', async () => {
    await makeJournal();
    const tables = openTables(file());
    await tables.blocks.put([9, 9, 9], Buffer.alloc(100_000));
    await tables.blocks.remove([9, 9, 9]);
    await tables.environment.close();
    const { size } = statSync(file());
    truncateSync(file(), size - 8 * 4096);
    const { store } = await openTestJournal({ directory });
    expect(store.depth('events').count).toBe(1000);
    await store.close();
  });

  it('with changed bits never returns data that was not stored', async () => {
    const whole = await makeJournal();
    const at = whole.indexOf('x'.repeat(400));
    const fd = openSync(file(), 'r+');
    writeSync(fd, 'y', at + 10);
    closeSync(fd);
    const text = await why(async () => {
      const { store } = await openTestJournal({ directory });
      try {
        await store.claim('events', { maxCount: 10_000, maxBytes: 1e9, isolateAfterAttempts: 3 });
      } finally {
        await store.close();
      }
    });
    expect(text).toContain('the journal is damaged: block 0/1/');
    const offline = await openOffline(directory, startMs);
    expect([...offline.check()].join('\n')).toContain('has a wrong checksum');
    await offline.close();
  });
});

describe('a journal format', () => {
  it('of a newer relay is rejected with both versions in the error', async () => {
    await makeJournal();
    const tables = openTables(file());
    await tables.meta.put('format', { application: 'klaviyo-relay', version: 99, epoch: 'abcdef' });
    await tables.environment.close();
    expect(await why(() => openTestJournal({ directory }))).toContain(
      'was written by a newer klaviyo-relay (format 99; this one reads up to 1)',
    );
  });
});

describe('a stopped relay’s journal', () => {
  it('can be checked completely', async () => {
    await makeJournal();
    const offline = await openOffline(directory, startMs);
    expect([...offline.check()]).toEqual([]);
    expect(offline.totals.lanes.events).toMatchObject({ count: 1000, deadLetters: 3 });
    await offline.close();
  });

  it('reports totals that differ from the stored envelopes', async () => {
    await makeJournal();
    const tables = openTables(file());
    const [key] = tables.blocks.getKeys({ limit: 1 });
    await tables.blocks.remove(key!);
    await tables.environment.close();
    const offline = await openOffline(directory, startMs);
    expect([...offline.check()].join('\n')).toMatch(/holds 950 unsettled envelopes .* say 1000/);
    await offline.close();
  });

  it('exports unsettled envelopes and dead letters with unchanged payloads', async () => {
    const { store } = await openTestJournal({ directory });
    await append(store, [anEvent({ text: '{"n":12345678901234567890}' })]);
    await deadLetterAll(store, 'events', 'bad');
    await append(store, [anEvent({ text: '{"é":"😀"}', acceptedAt: startMs })]);
    await store.close();
    const offline = await openOffline(directory, startMs);
    const lines = [...offline.export(() => undefined)];
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(
      new RegExp(
        `^{"kind":"envelope","id":"ev_\\w+_2","lane":"events","acceptedAt":${startMs},"attempts":0,"payload":{"é":"😀"}}$`,
      ),
    );
    expect(lines[1]).toContain('"payload":{"n":12345678901234567890}}');
    expect(JSON.parse(lines[1]!)).toMatchObject({ kind: 'dead_letter', reason: { code: 'bad' } });
    await offline.close();
  });

  it('exports the attempts of envelopes, and none that are settled', async () => {
    const { store } = await openTestJournal({ directory });
    await append(
      store,
      ['0', '1', '2'].map((text) => anEvent({ text })),
    );
    const items = await store.claim('events', bounds());
    const settled = [
      ...settledAs(items.slice(0, 1), ack),
      ...settledAs(items.slice(1, 2), retry(60_000)),
    ];
    await store.settle({ lane: 'events', settled });
    await store.close();
    const offline = await openOffline(directory, startMs);
    const lines = [...offline.export(() => undefined)].map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([
      { kind: 'envelope', lane: 'events', attempts: 1, payload: 1 },
      { kind: 'envelope', lane: 'events', attempts: 0, payload: 2 },
    ]);
    await offline.close();
  });

  it('keeps its length if it is read although it was truncated', async () => {
    await makeJournal();
    const bytes = 10 * 4096;
    truncateSync(file(), bytes);
    const faults = await why(async () => {
      const offline = await openOffline(directory, startMs);
      try {
        throw new Error([...offline.check()].join());
      } finally {
        await offline.close();
      }
    });
    expect(faults).not.toBe('');
    expect(statSync(file()).size).toBe(bytes);
  });

  it('exports everything except damaged entries, which it reports', async () => {
    const whole = await makeJournal();
    const broken = Buffer.from(whole);
    broken[whole.indexOf('x'.repeat(400)) + 10] = 0;
    writeFileSync(file(), broken);
    const offline = await openOffline(directory, startMs);
    const faults: string[] = [];
    const lines = [...offline.export((what) => void faults.push(what))];
    expect(faults).toHaveLength(1);
    expect(lines).toHaveLength(1000 - 50 + 3);
    await offline.close();
  });

  it('can be a copy', async () => {
    await makeJournal();
    const copy = join(directory, '..', 'relay-copy-of-a-journal');
    cpSync(directory, copy, { recursive: true });
    const offline = await openOffline(copy, startMs);
    expect([...offline.check()]).toEqual([]);
    await offline.close();
    rmSync(copy, { recursive: true });
  });

  it('must exist', async () => {
    expect(await why(() => openOffline(directory, startMs))).toContain('holds no journal');
    expect(await why(() => openOffline(join(directory, 'no'), startMs))).toContain(
      'cannot be used',
    );
  });
});
