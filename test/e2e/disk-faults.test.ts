import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { isConserved, readLaneCounts } from '../support/relay.js';
import { createProcesses, type Processes, type Relay, type Tracer } from '../support/strace.js';

const journalCalls = ['-e', 'trace=pwrite64,writev,pwritev,fdatasync'];
/**
 * Writes of several pages; each commit has one of them. Writes of one page are excluded: LMDB 3.5.6
 * formats their error into a buffer that is too small, which may abort the process. A full disk does not
 * affect them, because the relay preallocates the space with its own writes.
 */
const pageWrites = 'writev,pwritev';
/** Settings with which the relay sends only after POST /v1/flush. */
const noFlush = { EVENT_FLUSH_INTERVAL_MS: '600000' };

let root: string;
let dataDir: string;
let mounted: string | null;
let sandbox: RunningSandbox;
let processes: Processes;
/** Events that were answered with 202. */
let acknowledged: string[];

beforeEach(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'relay-disk-')));
  dataDir = join(root, 'data');
  mounted = null;
  acknowledged = [];
  processes = createProcesses();
  sandbox = await startSandbox({ clock: systemClock, windows: 'off' });
});

afterEach(async () => {
  await processes.endAll();
  await sandbox.close();
  if (mounted !== null) execFileSync('umount', [mounted]);
  rmSync(root, { recursive: true, force: true });
});

const start = (env: Readonly<Record<string, string>> = {}): Promise<Relay> =>
  processes.start({ klaviyo: sandbox.url, dataDir, env });

const inject = (relay: Relay, what: string): Promise<Tracer> =>
  processes.attach(relay, [...journalCalls, '-e', `inject=${what}`]);

type Answer = { readonly status: number; readonly retryAfter: string | null };

async function postMany(relay: Relay, ids: readonly string[], filler = ''): Promise<Answer> {
  const events = ids.map((insert_id) => ({
    event_name: 'e',
    distinct_id: 'd',
    insert_id,
    properties: { filler },
  }));
  const response = await relay.post('/v1/events/batch', events);
  await response.text();
  if (response.status === 202) acknowledged.push(...ids);
  return { status: response.status, retryAfter: response.headers.get('retry-after') };
}

const post = (relay: Relay, id: string): Promise<Answer> => postMany(relay, [id]);

const isLow = async (relay: Relay): Promise<boolean> =>
  (await readiness(relay))?.text.includes('"store":{"ok":false,"detail":"disk"}') === true;

/** The status of /readyz; null if the relay does not respond. */
async function readiness(relay: Relay): Promise<{ status: number; text: string } | null> {
  try {
    const response = await relay.get('/readyz');
    return { status: response.status, text: await response.text() };
  } catch {
    return null;
  }
}

async function readCounts(relay: Relay) {
  const response = await relay.get('/metrics');
  return readLaneCounts(await response.text()).events;
}

/** Polls until the condition holds. Each check waits for a real response. */
async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = systemClock.monotonic() + 20_000;
  while (systemClock.monotonic() < end) if (await isSo()) return;
  throw new Error(`never came true: ${what}`);
}

const untilSettled = (relay: Relay): Promise<void> =>
  until('everything is settled', async () => (await readCounts(relay)).buffered === 0);

/** Expects that Klaviyo received each acknowledged event once, and no other event. */
function expectDelivered(): void {
  const { events, counters } = sandbox.state();
  const recorded = events.map(({ uniqueId }) => uniqueId);
  expect(recorded.sort()).toEqual([...acknowledged].sort());
  expect(counters.repeats).toBe(0);
}

/** Delivers what is buffered and stops the relay. */
async function expectGoodEnd(relay: Relay): Promise<void> {
  await relay.post('/v1/flush', {});
  await untilSettled(relay);
  expectDelivered();
  expect(await readCounts(relay)).toSatisfy(isConserved);
  expect(await relay.stop()).toBe(0);
}

/** Checks the whole journal of a stopped relay. */
async function expectSoundJournal(): Promise<void> {
  const { code, output } = await processes.run(['store', 'check', dataDir]);
  expect(output).toContain('ok: everything can be read');
  expect(code).toBe(0);
}

/** Once it resolves, the next call of this kind fails. */
type Arm = (relay: Relay, toPost: () => void) => Promise<Tracer>;

const arm =
  (what: string): Arm =>
  (relay) =>
    inject(relay, what);

/** Only its place after the sync identifies the write of the head, so the relay is stopped there. */
const armHead: Arm = async (relay, toPost) => {
  const stopper = await inject(relay, 'fdatasync:signal=SIGSTOP');
  toPost();
  await stopper.lines.waitFor('stopped by SIGSTOP');
  await stopper.detach();
  const tracer = await inject(relay, 'pwrite64:error=EIO:when=1');
  process.kill(relay.pid, 'SIGCONT');
  return tracer;
};

type Fault = readonly [what: string, arm: Arm, reason: string];

const faults: readonly Fault[] = [
  ['page', arm(`${pageWrites}:error=EIO`), 'Input/output error'],
  ['sync', arm('fdatasync:error=EIO'), 'Input/output error'],
  ['full-sync', arm('fdatasync:error=ENOSPC'), 'No space left on device'],
  ['head', armHead, 'Input/output error'],
];

/** Expects that waiting posts are rejected and the process ends with a reason. */
async function strike(relay: Relay, [what, armFault, reason]: Fault) {
  const posts: Promise<Answer>[] = [];
  const toPost = (): void => {
    for (let one = 0; one < 4; one++) posts.push(post(relay, `${what}-waiting-${one}`));
  };
  const tracer = await armFault(relay, toPost);
  if (posts.length === 0) toPost();
  // A post after the end of the process gets no response.
  const responses = (await Promise.allSettled(posts)).flatMap((each) =>
    each.status === 'fulfilled' ? [each.value.status] : [],
  );
  for (const status of responses) expect([500, 503], what).toContain(status);
  expect(responses, what).not.toEqual([]);
  expect((await readiness(relay))?.status ?? 503, what).toBe(503);
  expect(await relay.ended, what).toBe(1);
  const fatal = relay.log.all.filter((line) => line.includes('"level":"fatal"'));
  expect(fatal, what).toHaveLength(1);
  expect(fatal[0]).toContain(`the journal could not be written: ${reason}`);
  return tracer.calls();
}

describe('a write or a sync that fails', () => {
  it('ends the relay with a reason, rejects waiting requests, and loses no acknowledged event', async () => {
    let relay = await start(noFlush);
    for (const fault of faults) {
      const [what] = fault;
      await post(relay, `${what}-before`);
      const calls = await strike(relay, fault);
      const failed = calls.findIndex(({ result }) => result === -1);
      if (what === 'head') expect(calls[failed]?.args).toMatch(/, 128, \d+$/);
      // A sync after a failed one may succeed although the data is lost.
      else expect(calls.slice(failed).filter(({ result }) => result !== -1)).toEqual([]);
      relay = await start(noFlush);
    }
    expect(acknowledged).toHaveLength(faults.length);
    await expectGoodEnd(relay);
    await expectSoundJournal();
  }, 60_000);
});

/** A small volume for the journal. */
function mountVolume(): string {
  const volume = join(root, 'volume');
  mkdirSync(volume);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', volume], { stdio: 'pipe' });
  } catch (error) {
    const message =
      'this machine does not let the test mount a tmpfs: root and SYS_ADMIN are needed';
    throw new Error(message, { cause: error });
  }
  mounted = volume;
  dataDir = join(volume, 'data');
  return volume;
}

async function freeBytes(volume: string): Promise<number> {
  const { bavail, bsize } = await statfs(volume);
  return bavail * bsize;
}

/** Fills the volume until `bytes` are free. */
async function putBallast(volume: string, leftBytes: number): Promise<string> {
  const path = join(volume, 'ballast');
  writeFileSync(path, Buffer.alloc((await freeBytes(volume)) - leftBytes));
  expect(await freeBytes(volume)).toBe(leftBytes);
  return path;
}

/** Posts batches of 400 kB until one is rejected. */
async function postUntilRefused(relay: Relay, name: string): Promise<Answer> {
  for (let batch = 0; batch < 100; batch++) {
    const ids = Array.from({ length: 50 }, (_, index) => `${name}-${batch}-${index}`);
    const response = await postMany(relay, ids, '.'.repeat(8000));
    if (response.status !== 202) return response;
  }
  throw new Error('nothing was refused');
}

describe('a relay on a volume of 24 MB', () => {
  const intake = { status: 503, retryAfter: '5' };
  const reserve = { DISK_RESERVE_BYTES: '4000000' };

  it('stops intake before the volume is full, and resumes it by itself once there is space', async () => {
    const volume = mountVolume();
    const ballast = await putBallast(volume, 14_336_000);
    sandbox.addFault({ status: 503 });
    const relay = await start(reserve);
    expect(await postUntilRefused(relay, 'low')).toEqual(intake);
    expect(acknowledged.length).toBeGreaterThan(250);
    await until('the relay is not ready', () => isLow(relay));
    rmSync(ballast);
    await relay.log.waitFor('there is room on the disk again');
    expect((await post(relay, 'after')).status).toBe(202);
    sandbox.clearFaults();
    await expectGoodEnd(relay);
    await expectSoundJournal();
  }, 60_000);

  it('resumes intake after its own backlog filled the volume and was delivered', async () => {
    mountVolume();
    sandbox.addFault({ status: 503 });
    const relay = await start(reserve);
    expect(await postUntilRefused(relay, 'backlog')).toEqual(intake);
    sandbox.clearFaults();
    await untilSettled(relay);
    await until('it is taken', async () => (await post(relay, 'after')).status === 202);
    expect((await readiness(relay))?.status).toBe(200);
    await expectGoodEnd(relay);
    const next = await start(reserve);
    await postMany(next, ['again'], '.'.repeat(8000));
    await expectGoodEnd(next);
  }, 60_000);

  it.each([
    ['no space', 0],
    ['space for a part of the data', 102_400],
  ])(
    'rejects a write that finds %s, settles what is buffered, and continues',
    async (_what, leftBytes) => {
      const volume = mountVolume();
      const relay = await start({ ...noFlush, DISK_RESERVE_BYTES: '0' });
      await postMany(relay, ['a', 'b', 'c']);
      const ballast = await putBallast(volume, leftBytes);
      expect(await postUntilRefused(relay, 'full')).toEqual(intake);
      expect((await relay.get('/livez')).status).toBe(200);
      // The disk is still full; deliveries free space.
      await relay.post('/v1/flush', {});
      await untilSettled(relay);
      rmSync(ballast);
      await until('it is taken', async () => (await post(relay, 'after')).status === 202);
      expect((await readiness(relay))?.status).toBe(200);
      await expectGoodEnd(relay);
      await expectSoundJournal();
    },
    60_000,
  );
});

describe('a journal that disappears while the relay runs', () => {
  it.each([
    ['a removal of its directory', () => rmSync(dataDir, { recursive: true }), 'was removed'],
    ['a truncation', () => truncateSync(join(dataDir, 'journal.mdb'), 0), 'was cut off: 0 of'],
  ])(
    'ends the relay after %s with a reason and exit code 1, and no later event is acknowledged',
    async (_what, lose, reason) => {
      const relay = await start(noFlush);
      await post(relay, 'before');
      lose();
      const [response] = await Promise.allSettled([post(relay, 'after')]);
      if (response.status === 'fulfilled') expect(response.value.status).toBe(503);
      expect(await relay.ended).toBe(1);
      const fatal = relay.log.all.filter((line) => line.includes('"level":"fatal"'));
      expect(fatal).toHaveLength(1);
      expect(fatal[0]).toContain('the journal is lost: ');
      expect(fatal[0]).toContain(reason);
    },
    60_000,
  );
});

describe('a relay that is stopped by SIGSTOP in the middle of a write', () => {
  it('continues after SIGCONT, however long it was stopped, and responds', async () => {
    const relay = await start({ ...noFlush, SYNC_TIMEOUT_MS: '300' });
    await post(relay, 'before');
    const stopper = await inject(relay, 'fdatasync:signal=SIGSTOP');
    const posted = post(relay, 'stopped');
    await stopper.lines.waitFor('stopped by SIGSTOP');
    await stopper.detach();
    const from = systemClock.monotonic();
    await until('it was stopped for twice its time limit', async () => {
      const status = await readFile(`/proc/${relay.pid}/status`, 'utf8');
      return status.includes('T (stopped)') && systemClock.monotonic() - from > 600;
    });
    process.kill(relay.pid, 'SIGCONT');
    expect((await posted).status).toBe(202);
    expect((await readiness(relay))?.status).toBe(200);
    await expectGoodEnd(relay);
  }, 60_000);
});

describe('a sync that hangs', () => {
  it('ends the relay within its time limit and loses no acknowledged event', async () => {
    const relay = await start({ ...noFlush, SYNC_TIMEOUT_MS: '300', SHUTDOWN_TIMEOUT_MS: '1000' });
    await post(relay, 'before');
    await inject(relay, 'fdatasync:delay_enter=3000000');
    expect((await post(relay, 'hanging')).status).toBe(503);
    expect((await readiness(relay))?.status ?? 503).toBe(503);
    // The relay ends itself by a signal, because an exit would wait for the disk.
    expect(await relay.ended).toBeNull();
    const fatal = relay.log.all.filter((line) => line.includes('"level":"fatal"'));
    expect(fatal).toHaveLength(1);
    expect(fatal[0]).toContain('a write has not ended after 300 ms');
    // The event of the hanging sync was rejected, and may be stored nevertheless.
    acknowledged.push('hanging');
    const next = await start(noFlush);
    if ((await readCounts(next)).accepted === 1) acknowledged.pop();
    await expectGoodEnd(next);
  }, 60_000);
});
