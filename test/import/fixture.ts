import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { createAmountReader } from '../../src/import/amounts.js';
import type { DryRunDeps } from '../../src/import/dry-run.js';
import type { Report } from '../../src/import/import-rows.js';
import type { ImportDeps, ImportOptions } from '../../src/import/importer.js';
import type { Mapping } from '../../src/import/mapping.js';
import { createProgressFile } from '../../src/import/progress.js';
import { toRules } from '../../src/klaviyo/revision.js';
import { createTimeReader, type ReadTime, type TimeOptions } from '../../src/import/times.js';
import type { ManualClock } from '../support/manual-clock.js';
import { createManualClock, settlePromises } from '../support/manual-clock.js';

/** The response to the next request. `cut` closes the connection without a response. */
export type Reply =
  | 'cut'
  | 'silence'
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: unknown;
    };

export type Received = {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly lines: readonly string[];
};

/** Starts a real HTTP server in place of a relay; `reply` determines its responses. */
export async function startFakeRelay(
  reply: (received: Received, index: number) => Reply,
): Promise<{ readonly url: string; readonly received: readonly Received[] }> {
  const received: Received[] = [];
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const lines = (await text(request)).split('\n');
    const one = { path: request.url ?? '', headers: request.headers, lines };
    received.push(one);
    const planned = reply(one, received.length - 1);
    if (planned === 'silence') return;
    if (planned === 'cut') {
      request.socket.destroy();
      return;
    }
    response.writeHead(planned.status, { 'content-type': 'application/json', ...planned.headers });
    response.end(
      typeof planned.body === 'string' ? planned.body : JSON.stringify(planned.body ?? {}),
    );
  };
  const server = createServer((request, response) => void respond(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { url: `http://127.0.0.1:${address.port}`, received };
}

/** A port that was free a moment ago. */
export async function aFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

export const acceptAll = ({ lines }: Received): Reply => ({
  status: 202,
  body: { accepted: lines.length, duplicates: 0, rejected: [] },
});

export const aProblem = (kind: string, detail: string, errors: readonly object[] = []) => ({
  type: `urn:klaviyo-relay:problem:${kind}`,
  title: 'x',
  detail,
  errors,
});

export function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'relay-import-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Advances the clock until the work has ended, and lets real servers respond in between. */
export async function whileTimePasses<T>(clock: ManualClock, work: Promise<T>): Promise<T> {
  const state = { hasEnded: false };
  const end = (): void => void (state.hasEnded = true);
  void work.then(end, end);
  for (let step = 0; !state.hasEnded; step++) {
    if (step > 100_000) throw new Error('never ended');
    await settlePromises(10);
    await clock.advance(100);
  }
  return work;
}

export const quiet: Report = {
  begun: () => undefined,
  moved: () => undefined,
  waiting: () => undefined,
};

/** Throws if the options are invalid. */
export function aReadTime(options: Partial<TimeOptions> = {}): ReadTime {
  const reader = createTimeReader({ format: null, timezone: null, ...options });
  if (!reader.ok) throw new Error(`${reader.option} ${reader.detail}`);
  return reader.read;
}

export const someMapping = (overrides: Partial<Mapping> = {}): Mapping => ({
  columns: [],
  constants: [],
  omitted: [],
  empty: [],
  readTime: aReadTime(),
  readAmount: createAmountReader(null),
  hasTimeOptions: false,
  flags: [],
  ...overrides,
});

export const someOptions = (
  overrides: Partial<ImportOptions> & Pick<ImportOptions, 'input' | 'url'>,
): ImportOptions => ({
  lane: 'events',
  format: /\.csv(\.gz)?$/.test(overrides.input) ? 'csv' : 'ndjson',
  delimiter: null,
  encoding: null,
  mapping: someMapping(),
  key: null,
  backfill: 'all',
  maxCount: 500,
  rejectedPath: `${overrides.input}.rejected.ndjson`,
  restart: false,
  ...overrides,
});

export const someDryDeps = (overrides: Partial<DryRunDeps> = {}): DryRunDeps => ({
  clock: createManualClock(),
  stdin: Readable.from([]),
  signal: new AbortController().signal,
  report: quiet,
  defaultCountry: undefined,
  rules: toRules('2026-07-15'),
  ...overrides,
});

export const someDeps = (
  input: string,
  overrides: Partial<ImportDeps> = {},
): ImportDeps & { readonly clock: ManualClock } => ({
  random: () => 0.5,
  stdin: Readable.from([]),
  progressFile: createProgressFile(`${input}.import.json`),
  signal: new AbortController().signal,
  report: quiet,
  ...overrides,
  clock: createManualClock(),
});

/** Any way to split these bytes; `cuts` in any order, also beyond the end. */
export function toChunks(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((place, at) => bytes.subarray(places[at - 1] ?? 0, place));
}
