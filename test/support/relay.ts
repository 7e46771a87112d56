import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import { pino } from 'pino';
import { startApp, type App } from '../../src/app/app.js';
import { loadConfig } from '../../src/config/config.js';
import { lanes, mapLanes, type Lane } from '../../src/model/lane.js';
import { startSandbox, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { createManualClock, settlePromises, type ManualClock } from './manual-clock.js';

export type RelayUnderTest = {
  readonly clock: ManualClock;
  readonly sandbox: RunningSandbox;
  readonly app: App;
  /** JSON lines that the relay logged. */
  readonly logged: readonly string[];
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<TestResponse>;
  get(path: string): Promise<TestResponse>;
  /** Advances the clock in small steps until the condition holds. Rejects if it never holds. */
  until(what: string, condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Advances the clock until nothing is buffered. */
  untilSettled(): Promise<void>;
  counts(): Promise<Record<Lane, LaneCounts>>;
  stop(): Promise<void>;
};

export type TestResponse = {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
};

export type LaneCounts = {
  readonly accepted: number;
  readonly delivered: number;
  readonly merged: number;
  readonly deadLettered: number;
  readonly erased: number;
  readonly buffered: number;
};

export type RelayOptions = {
  readonly env?: Record<string, string>;
  readonly sandbox?: Partial<Parameters<typeof startSandbox>[0]>;
  readonly seed?: number;
  /** Start of the manual clock, epoch ms. */
  readonly startMs?: number;
};

const stepMs = 25;
/** A condition costs a scrape or a request, so it is checked once in this many steps. */
const stepsPerCheck = 6;
/** One hour of manual time; no test takes longer. */
const maxSteps = 144_000;

/** Starts a whole relay and a sandbox over real HTTP, on one manual clock. The store is `memory` unless `env` names another. */
export async function startRelay({
  env = {},
  sandbox: sandboxOptions,
  seed = 1,
  startMs = Date.UTC(2026, 10, 1, 12),
}: RelayOptions = {}): Promise<RelayUnderTest> {
  const clock = createManualClock(startMs);
  const sandbox = await startSandbox({ clock, ...sandboxOptions });
  const logged: string[] = [];
  const faults: unknown[] = [];
  let ids = 0;
  const directory = mkdtempSync(join(tmpdir(), 'relay-app-'));
  const app = await startApp({
    config: loadConfig({
      KLAVIYO_API_KEY: 'pk_test_key_1',
      KLAVIYO_BASE_URL: sandbox.url,
      KLAVIYO_REVISION: '2026-07-15',
      PORT: '0',
      STORE: 'memory',
      DATA_DIR: directory,
      SHUTDOWN_TIMEOUT_MS: '2000',
      ...env,
    }),
    clock,
    random: createSeededRandom(seed),
    newId: () => `id-${++ids}`,
    log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
    droppedLogLines: () => 0,
    version: 'test',
    serverTime: () => startMs + clock.monotonic(),
    onFatal: (error) => void faults.push(error),
  });

  const send = async (path: string, init?: RequestInit): Promise<TestResponse> => {
    const response = await fetch(`${app.url}${path}`, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true;
    const body = (isJson ? JSON.parse(text) : { text }) as Record<string, unknown>;
    return { status: response.status, headers: response.headers, body };
  };

  const relay: RelayUnderTest = {
    clock,
    sandbox,
    app,
    logged,
    post: (path, body, headers = {}) =>
      send(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    get: (path) => send(path),
    async until(what, condition) {
      for (let step = 0; step < maxSteps; step++) {
        if (faults.length > 0) throw faults[0];
        if (step % stepsPerCheck === 0 && (await condition())) return;
        // Real sockets need turns of the event loop before the manual clock advances.
        await settlePromises(10);
        await clock.advance(stepMs);
      }
      throw new Error(`never came true: ${what}`);
    },
    untilSettled: () =>
      relay.until('everything is settled', async () => {
        const counts = await relay.counts();
        return lanes.every((lane) => counts[lane].buffered === 0);
      }),
    counts: async () => readLaneCounts(await app.metrics.registry.metrics()),
    async stop() {
      const stopped = app.stop();
      let ended = false;
      void stopped.then(() => (ended = true));
      await relay.until('the relay has stopped', () => ended);
      await sandbox.close();
      rmSync(directory, { recursive: true, force: true });
      if (faults.length > 0) throw faults[0];
    },
  };
  return relay;
}

/** Reads the counts of each lane from a Prometheus scrape. */
export function readLaneCounts(text: string): Record<Lane, LaneCounts> {
  const lines = new Map(
    text.split('\n').map((line): [string, number] => {
      const cut = line.lastIndexOf(' ');
      return [line.slice(0, cut), Number(line.slice(cut + 1))];
    }),
  );
  const of = (lane: Lane): LaneCounts => ({
    accepted: lines.get(`relay_ingest_total{lane="${lane}",outcome="accepted"}`) ?? 0,
    delivered: lines.get(`relay_settled_total{lane="${lane}",outcome="delivered"}`) ?? 0,
    merged: lines.get(`relay_settled_total{lane="${lane}",outcome="merged"}`) ?? 0,
    deadLettered: lines.get(`relay_settled_total{lane="${lane}",outcome="dead_lettered"}`) ?? 0,
    erased: lines.get(`relay_settled_total{lane="${lane}",outcome="erased"}`) ?? 0,
    buffered: lines.get(`relay_buffer_envelopes{lane="${lane}"}`) ?? 0,
  });
  return mapLanes(of);
}

/** Returns true if accepted = delivered + merged + dead-lettered + erased + buffered. */
export function isConserved({
  accepted,
  delivered,
  merged,
  deadLettered,
  erased,
  buffered,
}: LaneCounts): boolean {
  return accepted === delivered + merged + deadLettered + erased + buffered;
}
