import {
  cpSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { builtCommand, createProcesses, parseTrace } from '../support/strace.js';
import type { Call, Processes, Relay } from '../support/strace.js';

/** A request that was answered with 202: its id and the ids of its events. */
type Accepted = { readonly requestId: string; readonly eventIds: readonly string[] };

/** strace prints this many bytes of a write, enough for every event of the largest journal block. */
const shownBytes = 1024 * 1024;
const socketWrites = ['write', 'writev', 'sendto', 'sendmsg'];
const fileWrites = ['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2'];
const traced = ['openat', 'fdatasync', ...new Set([...socketWrites, ...fileWrites])];

/** Slow syncs: on a fast disk a response that does not wait for its sync may still follow it. */
const trace = [
  ...['--seccomp-bpf', '-s', String(shownBytes), '-e', `trace=${traced.join(',')}`],
  ...['-e', 'inject=fdatasync:delay_enter=50000', '-e', 'inject=pwrite64:delay_enter=5000'],
];

/**
 * Returns a line for each 202 that was not preceded by a write of pages with its events, then a complete
 * fdatasync of the journal, then a synced write of its head.
 */
function findEarlyResponses(calls: readonly Call[], accepted: readonly Accepted[]): string[] {
  const journal = calls.filter(({ args }) => args.includes('/journal.mdb'));
  const heads = journal.flatMap(({ name, args, result }) =>
    name === 'openat' && args.includes('O_DSYNC') ? [`${result}<`] : [],
  );
  const writes = journal.filter(({ name, result }) => fileWrites.includes(name) && isFine(result));
  const isHead = ({ args }: Call): boolean => heads.some((head) => args.startsWith(head));
  const written = findEvents(writes.filter((call) => !isHead(call)));
  const syncs = journal.filter(({ name, result }) => name === 'fdatasync' && result === 0);
  return accepted.flatMap(({ requestId, eventIds }) => {
    const response = calls.find((call) => isAnswer(call, requestId));
    if (response === undefined) return [`${requestId}: no answer was seen`];
    return eventIds.flatMap((id) => {
      const pages = written.get(id);
      const sync = pages && firstAfter(pages, syncs);
      const head = sync && firstAfter(sync, writes.filter(isHead));
      if (pages === undefined || pages.end > response.start) return [`${id}: not written`];
      if (sync === undefined || sync.end > response.start) return [`${id}: not synced`];
      return head === undefined || head.end > response.start ? [`${id}: no head of it`] : [];
    });
  });
}

const isFine = (result: number | null): boolean => result !== null && result > 0;

/** Maps each event to the first write that contains it. */
function findEvents(pages: readonly Call[]): ReadonlyMap<string, Call> {
  const found = new Map<string, Call>();
  for (const call of pages) {
    for (const [id] of call.args.matchAll(/event-\w+-\d+-\d+/g)) {
      if ((found.get(id)?.end ?? Infinity) > call.end) found.set(id, call);
    }
  }
  return found;
}

/** Returns the call that ends first among those that start after the end of `call`. */
function firstAfter(call: Call, others: readonly Call[]): Call | undefined {
  return others
    .filter(({ start }) => start > call.end)
    .reduce<Call | undefined>(
      (first, one) => (first && first.end <= one.end ? first : one),
      undefined,
    );
}

function isAnswer({ name, args }: Call, requestId: string): boolean {
  return (
    socketWrites.includes(name) &&
    args.includes('HTTP/1.1 202 ') &&
    args.includes(`x-request-id: ${requestId}\\r`)
  );
}

let root: string;
let sandbox: RunningSandbox;
let processes: Processes;

beforeEach(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'relay-sync-')));
  processes = createProcesses();
  sandbox = await startSandbox({ clock: systemClock, windows: 'off' });
});

afterEach(async () => {
  await processes.endAll();
  await sandbox.close();
  rmSync(root, { recursive: true, force: true });
});

const startTraced = (main = builtCommand): Promise<Relay> =>
  processes.start({ klaviyo: sandbox.url, dataDir: join(root, 'data'), main, trace });

function toEvents(eventIds: readonly string[], filler = '') {
  return eventIds.map((insert_id) => ({
    event_name: 'e',
    distinct_id: 'd',
    insert_id,
    properties: { filler },
  }));
}

const toIds = (requestId: string, count: number): readonly string[] =>
  Array.from(
    { length: count },
    (_, index) => `event-${requestId.replace('-', '_')}-${count}-${index}`,
  );

/** Sends one request and expects a 202. */
async function accept(relay: Relay, requestId: string, count = 1): Promise<Accepted> {
  const eventIds = toIds(requestId, count);
  const headers = { 'x-request-id': requestId };
  const [only] = toEvents(eventIds);
  const response =
    count === 1
      ? await relay.post('/v1/events', only, headers)
      : await relay.post('/v1/events/batch', toEvents(eventIds, '.'.repeat(500)), headers);
  expect(response.status).toBe(202);
  await response.text();
  return { requestId, eventIds };
}

async function acceptInTurn(relay: Relay, names: readonly string[]): Promise<Accepted[]> {
  const accepted: Accepted[] = [];
  for (const name of names) accepted.push(await accept(relay, name));
  return accepted;
}

/** Sends the first event of an earlier request again. */
async function repeat(relay: Relay, requestId: string, of: string): Promise<Accepted> {
  const eventIds = toIds(of, 1);
  const headers = { 'x-request-id': requestId };
  const response = await relay.post('/v1/events', toEvents(eventIds)[0], headers);
  expect(response.status).toBe(202);
  await response.text();
  return { requestId, eventIds };
}

/** A batch of 1,500 events needs several blocks; concurrent requests share syncs. */
it('the relay writes a 202 only after the sync of its single events, batches and concurrent requests', async () => {
  const relay = await startTraced();
  const single = await acceptInTurn(relay, ['one-1', 'one-2', 'one-3']);
  const batches = [await accept(relay, 'batch-1', 1500), await accept(relay, 'batch-2', 700)];
  const names = Array.from({ length: 40 }, (_, index) => `many-${index}`);
  const many = await Promise.all([
    ...names.map((name) => accept(relay, name)),
    ...['again-1', 'again-2', 'again-3'].map((name) => repeat(relay, name, 'many-7')),
    accept(relay, 'batch-3', 300),
  ]);
  expect(await relay.stop()).toBe(0);
  const calls = relay.calls();
  expect(findEarlyResponses(calls, single)).toEqual([]);
  expect(findEarlyResponses(calls, batches)).toEqual([]);
  expect(findEarlyResponses(calls, many)).toEqual([]);
  const syncs = calls.filter(({ name, args }) => name === 'fdatasync' && args.includes('.mdb'));
  expect(syncs.length).toBeLessThan(many.length);
}, 60_000);

/** Copies the built command and replaces a text that must occur exactly once. */
function breakBuild(file: string, right: string, wrong: string): string {
  const dist = join(root, 'dist');
  const from = dirname(builtCommand);
  cpSync(from, dist, { recursive: true });
  for (const name of ['node_modules', 'package.json', 'openapi.yaml']) {
    symlinkSync(join(dirname(from), name), join(root, name));
  }
  const path = join(dist, file);
  const parts = readFileSync(path, 'utf8').split(right);
  expect(parts, `"${right}" in ${file}`).toHaveLength(2);
  writeFileSync(path, parts.join(wrong));
  return join(dist, 'main.js');
}

describe('the check of the trace reports', () => {
  const option = 'overlappingSync: false';
  it.each([
    ['does not sync', 'tables.js', [option, 'noSync: true'], /: not synced$/],
    [
      'does not sync the head',
      'tables.js',
      [option, `${option}, noMetaSync: true`],
      /: no head of it$/,
    ],
    [
      'does not wait',
      'journal.js',
      ['await environment', 'void environment'],
      /: not (written|synced)$/,
    ],
  ] as const)(
    'a build that %s',
    async (_what, file, [right, wrong], words) => {
      const relay = await startTraced(breakBuild(`store/journal/${file}`, right, wrong));
      const accepted = await acceptInTurn(relay, ['one-1', 'one-2', 'one-3']);
      await relay.stop();
      const faults = findEarlyResponses(relay.calls(), accepted);
      expect(faults).toHaveLength(3);
      for (const fault of faults) expect(fault).toMatch(words);
    },
    60_000,
  );
});

describe('the check of a trace with overlapping calls', () => {
  const accepted = [{ requestId: 'r1', eventIds: ['event-a-1-0'] }];
  const opened = '1 openat(AT_FDCWD, "/d/journal.mdb", O_WRONLY|O_DSYNC) = 9</d/journal.mdb>';
  const pages = '2 pwrite64(8</d/journal.mdb>, "..event-a-1-0..", 4096, 0) = 4096';
  const [syncBegins, syncEnds] = [
    '2 fdatasync(8</d/journal.mdb> <unfinished ...>',
    '2 <... fdatasync resumed>)      = 0',
  ];
  const head = '2 pwrite64(9</d/journal.mdb>, "head", 128, 4136) = 128';
  const response =
    '1 writev(24<socket:[1]>, [{iov_base="HTTP/1.1 202 Accepted\\r\\nx-request-id: r1\\r\\n"}], 1) = 9';

  it.each([
    [
      'accepts a 202 that follows pages, sync and head',
      [opened, pages, syncBegins, '3 fdatasync(7</d/x>) = 0', syncEnds, head, response],
      [],
    ],
    [
      'reports a 202 that is written before the sync ends',
      [opened, pages, syncBegins, response, syncEnds, head],
      ['event-a-1-0: not synced'],
    ],
    [
      'reports a sync that precedes the pages',
      [opened, syncBegins, syncEnds, pages, head, response],
      ['event-a-1-0: not synced'],
    ],
    [
      'reports a sync that starts while the pages are written',
      [opened, syncBegins, pages, syncEnds, head, response],
      ['event-a-1-0: not synced'],
    ],
    [
      'reports a sync that fails',
      [
        opened,
        pages,
        '2 fdatasync(8</d/journal.mdb>) = -1 EIO (Input/output error)',
        head,
        response,
      ],
      ['event-a-1-0: not synced'],
    ],
    [
      'reports a sync that never ends',
      [opened, pages, syncBegins, head, response],
      ['event-a-1-0: not synced'],
    ],
    [
      'reports a head that is written after the 202',
      [opened, pages, syncBegins, syncEnds, response, head],
      ['event-a-1-0: no head of it'],
    ],
    [
      'reports pages that are never written',
      [opened, syncBegins, syncEnds, head, response],
      ['event-a-1-0: not written'],
    ],
    [
      'reports a 202 that is missing',
      [opened, pages, syncBegins, syncEnds, head],
      ['r1: no answer was seen'],
    ],
  ])('%s', (_what, lines, faults) => {
    expect(findEarlyResponses(parseTrace(lines), accepted)).toEqual(faults);
  });
});
