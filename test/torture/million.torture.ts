import { readFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { readLaneCounts } from '../support/relay.js';
import { startRelayProcess, type RelayProcess } from '../support/relay-process.js';

const unsettled = Number(process.env.UNSETTLED ?? 1_000_000);
const profileCount = Math.round(unsettled / 20);
const identities = 1000;
const perRequest = 1000;

let dataDir: string;
let relay: RelayProcess;
let klaviyo: Server;
let klaviyoUrl: string;
/** Bodies that the test's Klaviyo server received while it accepts requests. */
let taken: string[] | null;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'relay-million-'));
  taken = null;
  // A plain server in place of the sandbox, whose work for a million events would affect the measurement.
  klaviyo = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (part: string) => (body += part));
    request.on('end', () => {
      taken?.push(body);
      const job = { data: { id: 'job', attributes: { status: 'complete', failed_count: 0 } } };
      response.writeHead(taken === null ? 503 : request.method === 'GET' ? 200 : 202);
      response.end(JSON.stringify(job));
    });
  }).listen(0, '127.0.0.1');
  await once(klaviyo, 'listening');
  const address = klaviyo.address();
  klaviyoUrl = `http://127.0.0.1:${typeof address === 'object' ? (address?.port ?? 0) : 0}`;
});

afterEach(async () => {
  await relay.end('SIGKILL');
  klaviyo.closeAllConnections();
  klaviyo.close();
  await rm(dataDir, { recursive: true, force: true });
});

const env = {
  EVENT_RATE_WINDOWS: 'off',
  PROFILE_RATE_WINDOWS: 'off',
  RATE_LIMIT_PER_SECOND: '1000',
  RETRY_MAX_DELAY_MS: '1000',
  LOG_LEVEL: 'warn',
  RELAY_API_KEYS: 'an-ingest-key',
};

async function start(): Promise<string> {
  relay = startRelayProcess({ klaviyoUrl, dataDir, env: { ...env, LOG_LEVEL: 'info' } });
  const url = await relay.listening;
  if (url === null) throw new Error('it was told to end');
  return url;
}

const anEvent = (number: number): object => ({
  event_name: 'Placed Order',
  email: `shopper-${number}@klaviyo-demo.com`,
  insert_id: `order-${number}`,
  value: 29.98,
  currency: 'USD',
  order_id: number,
  properties: { Items: ['Linen shirt', 'Wool socks'], note: 'x'.repeat(160) },
});

const aProfile = (number: number): object => ({
  distinct_id: `c-${number % identities}`,
  change: Math.floor(number / identities),
});

type Load = {
  readonly lane: 'events' | 'profiles';
  readonly count: number;
  make(number: number): object;
};

async function post(url: string, { lane, count, make }: Load): Promise<void> {
  let next = 0;
  const poster = async (): Promise<void> => {
    while (next < count) {
      const from = next;
      next += perRequest;
      const body = Array.from({ length: Math.min(perRequest, count - from) }, (_, index) =>
        JSON.stringify(make(from + index)),
      ).join('\n');
      const headers = { 'content-type': 'application/x-ndjson', 'x-api-key': 'an-ingest-key' };
      const result = await fetch(`${url}/v1/${lane}/batch`, { method: 'POST', headers, body });
      expect(result.status).toBe(202);
      await result.arrayBuffer();
    }
  };
  // Profiles are sent one request after the other, because their order is checked.
  await Promise.all(Array.from({ length: lane === 'events' ? 4 : 1 }, poster));
}

/** Resident memory of the relay in MB: in total, and without the kernel's cached pages of the journal file. */
async function readMemory(): Promise<{ all: number; own: number }> {
  const status = await readFile(`/proc/${relay.pid}/status`, 'utf8');
  const read = (name: string): number =>
    Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1000);
  return { all: read('VmRSS'), own: read('RssAnon') };
}

async function untilDrained(url: string): Promise<void> {
  for (let buffered = 1; buffered > 0;) {
    const { events, profiles } = readLaneCounts(await (await fetch(`${url}/metrics`)).text());
    buffered = events.buffered + profiles.buffered;
  }
}

const seconds = (from: number): string => ((systemClock.monotonic() - from) / 1000).toFixed(1);

it(`${unsettled} unsettled events survive a SIGKILL, and the relay is ready soon after`, async () => {
  const report: string[] = [];
  let from = systemClock.monotonic();
  let url = await start();
  await post(url, { lane: 'events', count: unsettled, make: anEvent });
  await post(url, { lane: 'profiles', count: profileCount, make: aProfile });
  const size = Math.round((await stat(join(dataDir, 'journal.mdb'))).size / 1e6);
  const { all, own } = await readMemory();
  report.push(`posted in ${seconds(from)} s; file ${size} MB; memory ${all} MB, ${own} its own`);
  await relay.end('SIGKILL');

  from = systemClock.monotonic();
  url = await start();
  const ready = await fetch(`${url}/readyz`);
  expect(ready.status).toBe(200);
  const after = await readMemory();
  report.push(
    `ready ${seconds(from)} s after the start; memory ${after.all} MB, ${after.own} its own`,
  );
  const counts = readLaneCounts(await (await fetch(`${url}/metrics`)).text());
  expect(counts.events.buffered).toBe(unsettled);
  expect(counts.profiles.buffered).toBe(profileCount);

  from = systemClock.monotonic();
  taken = [];
  await untilDrained(url);
  const drained = await readMemory();
  report.push(`drained in ${seconds(from)} s; memory ${drained.all} MB, ${drained.own} its own`);
  const ids = taken.flatMap((body) =>
    [...body.matchAll(/"unique_id":"order-(\d+)"/g)].map(([, number]) => Number(number)),
  );
  expect(ids).toHaveLength(unsettled);
  expect(new Set(ids).size).toBe(unsettled);
  expectNewestWins(taken);
  process.stdout.write(`${report.join('\n')}\n`);
});

/** Changes of an identity arrive in order, each once or merged into a newer one; the last one is the last posted. */
function expectNewestWins(bodies: readonly string[]): void {
  const last = new Map<string, number>();
  const update = /"external_id":"(c-\d+)","properties":\{"change":(\d+)\}/g;
  for (const [, id = '', change] of bodies.flatMap((body) => [...body.matchAll(update)])) {
    expect(Number(change)).toBeGreaterThan(last.get(id) ?? -1);
    last.set(id, Number(change));
  }
  expect(last.size).toBe(identities);
  const newest = Math.floor(profileCount / identities) - 1;
  for (const change of last.values()) expect(change).toBe(newest);
}
