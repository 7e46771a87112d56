import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { JournalLostError } from '../../../src/store/journal/journal-file.js';
import { openOffline } from '../../../src/store/journal/offline.js';
import { anEvent, someEvents, startMs } from '../../support/builders.js';
import { append } from '../contract/harness.js';
import { openTestJournal, type JournalUnderTest } from './under-test.js';

let root: string;
let directory: string;
let opened: JournalUnderTest[];
const at = (name: string): string => join(directory, name);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'relay-lock-'));
  directory = join(root, 'data');
  opened = [];
});
afterEach(async () => {
  for (const under of opened) await under.close();
  rmSync(root, { recursive: true, force: true });
});

async function open(settings: { directory?: string } = {}): Promise<JournalUnderTest> {
  const under = await openTestJournal({ directory, ...settings });
  opened.push(under);
  return under;
}

async function why(opening: Promise<unknown>): Promise<string> {
  try {
    await opening;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'it was opened';
}

/** A journal that was used and closed. */
async function makeJournal(): Promise<void> {
  const { store } = await open();
  await append(store, someEvents(3));
  await store.close();
}

describe('the lock of a data directory', () => {
  it.each([[['relay.lock']], [['relay.lock', 'journal.mdb-lock']]])(
    'keeps a second process out although %j was removed, and is put back within a second',
    async (names) => {
      const { store, clock } = await open();
      await append(store, someEvents(1));
      for (const name of names) rmSync(at(name));
      expect(await why(open())).toContain('is held by another process: one process at a time');
      expect(await why(openOffline(directory, startMs))).toContain('is held by another process');
      await clock.advance(1000);
      await vi.waitFor(() => expect(existsSync(at('relay.lock'))).toBe(true));
      expect(await why(open())).toContain(`is held by process ${process.pid} on `);
      await append(store, someEvents(1));
      await store.close();
      expect((await open()).store.depth('events').count).toBe(2);
    },
  );

  it('keeps a second process out even after relay.lock was replaced', async () => {
    const { store, clock } = await open();
    writeFileSync(at('copy'), '');
    renameSync(at('copy'), at('relay.lock'));
    expect(await why(open())).toContain('one process at a time');
    await clock.advance(1000);
    const held = `"pid":${process.pid}`;
    await vi.waitFor(() => expect(readFileSync(at('relay.lock'), 'utf8')).toContain(held));
    await append(store, someEvents(1));
  });

  it('lets one of two processes create a new journal', async () => {
    const results = await Promise.allSettled([open(), open()]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect((await opened[0]!.store.append([anEvent()])).ok).toBe(true);
  });

  it('applies under each name of the directory, whatever a link is changed to later', async () => {
    mkdirSync(directory);
    const link = join(root, 'link');
    symlinkSync(directory, link);
    const { store, clock, faults } = await open({ directory: link });
    expect(await why(open())).toContain('one process at a time');
    rmSync(link);
    symlinkSync(root, link);
    await clock.advance(1000);
    await append(store, someEvents(1));
    expect(faults).toEqual([]);
  });

  it('leaves nothing in a directory without a journal that is only inspected', async () => {
    mkdirSync(directory);
    expect(await why(openOffline(directory, startMs))).toContain('holds no journal');
    expect(readdirSync(directory)).toEqual([]);
  });

  it('leaves nothing in a directory with other files', async () => {
    mkdirSync(directory);
    writeFileSync(at('precious.db'), 'data');
    expect(await why(open())).toContain('is not empty and holds no journal (precious.db)');
    expect(readdirSync(directory)).toEqual(['precious.db']);
  });

  it('is not created again if its journal was removed', async () => {
    await makeJournal();
    rmSync(at('journal.mdb'));
    expect(await why(open())).toContain('has lost its journal.mdb: put it back, or remove');
    rmSync(at('journal.mdb-lock'));
    expect(await why(open())).toBe('it was opened');
  });

  it.each(['', '\0'.repeat(80), '{"pid":12,"ho', '{"pid":1,"host":"a","since":"b"}\n'])(
    'is taken where a crash left %j in the file',
    async (content) => {
      mkdirSync(directory);
      writeFileSync(at('relay.lock'), content);
      await open();
      expect(await why(open())).toContain(`is held by process ${process.pid} on `);
    },
  );
});

describe.runIf(existsSync('/proc/self/fd'))('the open files of the process', () => {
  const countOpen = (): number => readdirSync('/proc/self/fd').length;

  it.each<[string, () => unknown]>([
    ['another process uses it', () => open()],
    ['it holds other files', () => writeFile(at('precious.db'), 'data')],
    ['relay.lock is a directory', () => mkdir(at('relay.lock'))],
    ['relay.lock is of something else', () => writeFile(at('relay.lock'), '?')],
    ['its journal is damaged', () => writeFile(at('journal.mdb'), '?')],
    ['its journal is a directory', () => mkdir(at('journal.mdb'))],
  ])('stay as many if the directory cannot be used because %s', async (_name, prepare) => {
    mkdirSync(directory);
    await prepare();
    const before = countOpen();
    expect(await why(open())).not.toBe('it was opened');
    expect(await why(openOffline(directory, startMs))).not.toBe('it was opened');
    expect(countOpen()).toBe(before);
  });

  it('are as many after the journal was closed as before it was opened', async () => {
    await makeJournal();
    const before = countOpen();
    const { store, clock } = await open();
    rmSync(at('relay.lock'));
    await clock.advance(1000);
    await vi.waitFor(() => expect(existsSync(at('relay.lock'))).toBe(true));
    await store.close();
    await (await openOffline(directory, startMs)).close();
    expect(countOpen()).toBe(before);
  });
});

describe('a path that cannot be a lock file', () => {
  const precious = (): string => join(root, 'precious');
  beforeEach(() => {
    mkdirSync(directory);
    writeFileSync(precious(), 'data');
  });
  afterEach(() => expect(readFileSync(precious(), 'utf8')).toBe('data'));

  it.each([
    ['a symbolic link', () => symlinkSync(precious(), at('relay.lock')), 'is a symbolic link'],
    [
      'a link to nothing',
      () => symlinkSync(join(root, 'nothing'), at('relay.lock')),
      'is a symbolic link',
    ],
    [
      "a hard link to somebody's file",
      () => linkSync(precious(), at('relay.lock')),
      'is no lock file of klaviyo-relay',
    ],
    ['a pipe', () => execFileSync('mkfifo', [at('relay.lock')]), 'is not a regular file'],
    ['a directory', () => mkdirSync(at('relay.lock')), 'cannot be used'],
  ])('is rejected and not written to: %s', async (_what, make, says) => {
    make();
    expect(await why(open())).toContain(says);
    expect(existsSync(join(root, 'nothing'))).toBe(false);
  });

  it.each(['journal.mdb', 'journal.mdb-lock'])(
    'or a journal that is a link is refused: %s',
    async (name) => {
      rmSync(directory, { recursive: true });
      await makeJournal();
      rmSync(at(name));
      symlinkSync(precious(), at(name));
      expect(await why(open())).toMatch(/is a symbolic link|is not a regular file/);
    },
  );
});

describe('files that others can read', () => {
  it('get safe modes at the start, and the mode of an existing directory stays', async () => {
    await makeJournal();
    const names = ['journal.mdb', 'journal.mdb-lock', 'relay.lock'];
    for (const name of names) chmodSync(at(name), 0o644);
    chmodSync(directory, 0o755);
    await open();
    const modes = names.map((name) => statSync(at(name)).mode & 0o777);
    expect(modes).toEqual([0o600, 0o600, 0o600]);
    expect(statSync(directory).mode & 0o777).toBe(0o755);
  });
});

/** What happens to the files, and what the relay says then. */
const losses: readonly (readonly [string, () => void, string])[] = [
  ['its directory is removed', () => rmSync(directory, { recursive: true }), 'was removed'],
  ['its directory is renamed', () => renameSync(directory, join(root, 'moved')), 'was removed'],
  ['it is removed', () => rmSync(at('journal.mdb')), 'was removed'],
  [
    'it is replaced by a copy',
    () => {
      copyFileSync(at('journal.mdb'), at('copy'));
      renameSync(at('copy'), at('journal.mdb'));
    },
    'is not the file any more',
  ],
  [
    'it is replaced by a link to itself',
    () => {
      renameSync(at('journal.mdb'), at('moved'));
      symlinkSync(at('moved'), at('journal.mdb'));
    },
    'is not the file any more',
  ],
  [
    'its directory is replaced by a file',
    () => {
      rmSync(directory, { recursive: true });
      writeFileSync(directory, '');
    },
    'was removed',
  ],
  ['an older copy is written over it', () => writeOver(older), 'was overwritten'],
  ['something else is written over it', () => writeOver(Buffer.alloc(65_536)), 'was overwritten'],
];

let older: Buffer;

function writeOver(bytes: Buffer): void {
  const fd = openSync(at('journal.mdb'), 'r+');
  writeSync(fd, bytes, 0, bytes.length, 0);
  closeSync(fd);
}

describe('a journal in use', () => {
  async function openInUse(): Promise<JournalUnderTest> {
    const under = await open();
    older = readFileSync(at('journal.mdb'));
    await append(under.store, someEvents(1));
    await under.clock.advance(1000);
    expect(under.faults).toEqual([]);
    return under;
  }

  it.each(losses)('accepts nothing once %s', async (_what, lose, says) => {
    const under = await openInUse();
    lose();
    const unavailable = { reason: 'unavailable', retryAfterMs: 1000 };
    expect(await under.store.append([anEvent()])).toEqual({ ok: false, backpressure: unavailable });
    expect(under.store.backpressure()).toEqual(unavailable);
    expect(under.faults).toEqual([expect.any(JournalLostError)]);
    expect(String(under.faults)).toContain(`the journal is lost: ${at('journal.mdb')} ${says}`);
  });

  it.each(losses)('fails within a second, without anything to write, once %s', async (...loss) => {
    const [, lose, says] = loss;
    const under = await openInUse();
    lose();
    await under.clock.advance(1000);
    await vi.waitFor(() => expect(String(under.faults)).toContain(says));
    expect(under.store.backpressure()?.reason).toBe('unavailable');
    await under.clock.advance(5000);
    expect(under.faults).toHaveLength(1);
  });

  it('acknowledges no append that was in progress when the file was removed', async () => {
    const under = await openInUse();
    const appending = under.store.append([anEvent()]);
    // The group is staged in the next turn, and written in another thread.
    await new Promise<void>((resolve) => setImmediate(resolve));
    rmSync(at('journal.mdb'));
    expect((await appending).ok).toBe(false);
    expect(String(under.faults)).toContain('was removed');
  });
});
