import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, it } from 'vitest';
import { systemClock } from '../src/clock.js';
import { toSpread, type Spread } from './support/compare.js';
import { post } from './support/load.js';
import { needTools, startRelay, type Program } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 3);
const million = 1_000_000;
/** No server listens there, so nothing is settled. */
const nowhere = 'http://127.0.0.1:9';

const rows: Row[] = [];
beforeAll(() => needTools('wrk', 'taskset'));
afterAll(() => save('backlog', rows));

const env = (dataDir: string) => ({
  ...{ DATA_DIR: dataDir, KLAVIYO_BASE_URL: nowhere },
  ...{ MAX_BUFFER_COUNT: String(10 * million), MAX_BUFFER_BYTES: String(10_000 * million) },
});

const nobody: Program = { pid: -1, url: nowhere, stop: () => Promise.resolve() };

/** MB: all that is resident, and without the pages of the journal's file that the kernel keeps and can drop. */
function readMemory({ pid }: Program): { readonly all: number; readonly own: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const read = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1000;
  return { all: read('VmRSS'), own: read('RssAnon') };
}

async function postMillion(relay: Program): Promise<void> {
  for (let posted = 0; posted < million;) {
    const { requests } = await post(relay, {
      ...{ kind: 'ndjson', perRequest: 500, connections: 8, seconds: 1 },
    });
    posted += requests * 500;
  }
}

async function untilReady(url: string): Promise<void> {
  while ((await fetch(`${url}/readyz`)).status !== 200);
}

type Measured = Record<'first' | 'firstOwn' | 'second' | 'secondOwn' | 'readySeconds', number>;

async function measure(): Promise<Measured> {
  const dataDir = mkdtempSync(join(tmpdir(), 'bench-backlog-'));
  try {
    let relay = await startRelay(nobody, env(dataDir));
    await postMillion(relay);
    const first = readMemory(relay);
    await relay.stop();
    const from = systemClock.monotonic();
    relay = await startRelay(nobody, env(dataDir));
    await untilReady(relay.url);
    const readySeconds = (systemClock.monotonic() - from) / 1000;
    await postMillion(relay);
    const second = readMemory(relay);
    await relay.stop();
    return {
      ...{ first: first.all, firstOwn: first.own, second: second.all, secondOwn: second.own },
      readySeconds,
    };
  } finally {
    rmSync(dataDir, { recursive: true });
  }
}

it('measures memory and start time with a million unsettled events', async () => {
  const all: Measured[] = [];
  for (let round = 0; round < rounds; round++) all.push(await measure());
  const of = (name: keyof Measured): Spread => toSpread(all.map((each) => each[name]));
  const growth = toSpread(all.map(({ first, second }) => second - first));
  rows.push(
    {
      ...{ row: '6', what: 'resident memory with 1,000,000 unsettled events', against: '–' },
      ...{ measured: of('first'), unit: 'MB', least: '400', aim: '250' },
      absolute: {
        "of it not the journal's file": of('firstOwn'),
        'another million more, MB': growth,
        'with two million': of('second'),
        "of it not the journal's file, then": of('secondOwn'),
      },
    },
    {
      ...{ row: '7', what: 'ready after SIGKILL with as many', against: '–', unit: 's' },
      ...{ measured: of('readySeconds'), least: '3', aim: '1', absolute: {} },
    },
  );
});
