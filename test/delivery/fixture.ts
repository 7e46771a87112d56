import { afterEach, expect } from 'vitest';
import { wait } from '../../src/clock.js';
import type { Destination } from '../../src/model/destination.js';
import { createEngine, type Engine, type EngineDeps } from '../../src/delivery/engine.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import { lanes, mapLanes, type Lane } from '../../src/model/lane.js';
import type { Draft } from '../../src/model/envelope.js';
import type { PollResult, ListedImportJobs } from '../../src/model/destination.js';
import type { Outcome } from '../../src/model/outcome.js';
import { createMetrics, type Metrics } from '../../src/metrics.js';
import { MemoryStore } from '../../src/store/memory.js';
import { factBounds } from '../store/contract/harness.js';
import { toBytes, toTexts } from '../support/builders.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';

export type Request = {
  readonly lane: Lane;
  readonly at: number;
  readonly texts: readonly string[];
};

/** Decides the outcome of one payload. `number` counts requests from 1. */
export type Script = (text: string, request: Request, number: number) => Outcome;

export type Poll = { readonly ref: string; readonly at: number; readonly texts: readonly string[] };

/** Decides the result of a poll of an import job; null while the job runs. `number` counts polls from 1. */
export type JobScript = (poll: Poll, number: number) => readonly Outcome[] | null;

export type FakeKlaviyo = Destination & {
  readonly requests: readonly Request[];
  readonly polls: readonly Poll[];
  /** For each request, the result of `stillOwned` just before the response; null without `stillOwned`. */
  readonly ownedAtEnd: readonly (boolean | null)[];
  /** The maximum of requests of each lane that were in flight at once. */
  readonly busiest: Readonly<Record<Lane, number>>;
};

type FakeKlaviyoOptions = {
  readonly clock: ManualClock;
  readonly script: Script;
  readonly jobs?: JobScript;
  readonly latencyMs?: number;
};

const noJobs: JobScript = () => {
  throw new Error('no import job was begun');
};

/** A destination in this process. It responds as the script says, and records its requests. */
export function createFakeKlaviyo({
  clock,
  script,
  jobs = noJobs,
  latencyMs = 5,
}: FakeKlaviyoOptions): FakeKlaviyo {
  const requests: Request[] = [];
  const polls: Poll[] = [];
  const ownedAtEnd: (boolean | null)[] = [];
  const underWay = { ...mapLanes(() => 0) };
  const busiest = { ...mapLanes(() => 0) };
  return {
    requests,
    polls,
    ownedAtEnd,
    busiest,
    merge: (payloads) => toBytes(toTexts(payloads).join('+')),
    async send(lane, payloads, stillOwned) {
      const request = { lane, at: clock.monotonic(), texts: toTexts(payloads) };
      const number = requests.push(request);
      busiest[lane] = Math.max(busiest[lane], ++underWay[lane]);
      await wait(clock, latencyMs);
      underWay[lane]--;
      ownedAtEnd.push(stillOwned?.() ?? null);
      const outcomes = request.texts.map((text) => script(text, request, number));
      return {
        outcomes,
        status: 200,
        bytes: 100,
        backfilled: 0,
        durationMs: latencyMs,
        feedback: null,
      };
    },
    async pollImportJob({ ref }, imported, permit): Promise<PollResult> {
      await permit();
      const poll = { ref, at: clock.monotonic(), texts: toTexts(imported.payloads()) };
      const outcomes = jobs(poll, polls.push(poll));
      const status = outcomes === null ? 'processing' : 'complete';
      const job = { id: ref, status, completed: null, failed: null } as const;
      return { job, outcomes, retryable: false, feedback: null };
    },
    /** It has no list, so each job is polled. */
    async listImportJobs(_refs, permit): Promise<ListedImportJobs> {
      await permit();
      return { open: [], end: 'failed', requests: 1, feedback: null };
    },
  };
}

export type EngineUnderTest = {
  readonly clock: ManualClock;
  readonly store: MemoryStore;
  readonly engine: Engine;
  readonly metrics: Metrics;
  readonly klaviyo: FakeKlaviyo;
  readonly requests: readonly Request[];
  /** The log lines. */
  readonly logged: readonly string[];
  /** What the engine reported with `onFatal`. A test that expects an error removes it. */
  readonly fatalErrors: unknown[];
  append(drafts: readonly Draft[]): Promise<void>;
  /** Advances the clock in small steps. After each, accepted = delivered + merged + dead-lettered + buffered. */
  advance(ms: number): Promise<void>;
  /** Stops the engine, whatever is in flight. */
  stop(): Promise<void>;
};

export type EngineOptions = Omit<FakeKlaviyoOptions, 'clock' | 'script'> & {
  readonly clock?: ManualClock;
  readonly overrides?: Partial<EngineDeps>;
  /** Puts into the store what an earlier process left. */
  readonly prepare?: (store: MemoryStore) => Promise<void>;
};

const bounds = { maxCount: 100, maxBytes: 1_000_000, maxAgeMs: 100 };
const stepMs = 100;
/** Longer than any latency in a test. */
const longestMs = 20_000;

/** Starts the delivery half with a memory store and a fake Klaviyo, on a manual clock. */
export async function startEngine(
  script: Script,
  { clock = createManualClock(), overrides, prepare, ...options }: EngineOptions = {},
): Promise<EngineUnderTest> {
  const store = createStore(clock);
  const klaviyo = createFakeKlaviyo({ clock, script, ...options });
  const metrics = createMetrics('test');
  const logged: string[] = [];
  const fatalErrors: unknown[] = [];
  const windows = { events: [], profiles: [], imports: [] };
  const log = (fields: object, text: string): void =>
    void logged.push(`${text} ${JSON.stringify(fields)}`);
  const engine = createEngine({
    store,
    destination: klaviyo,
    limiter: createLocalLimiter({ clock, bucket: { perSecond: 1000, burst: 1000 }, windows }),
    bounds: mapLanes(() => bounds),
    concurrency: 4,
    policy: { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 0 },
    clock,
    random: () => 0.5,
    metrics,
    log: { info: log, warn: log },
    onFatal: (error) => void fatalErrors.push(error),
    ...overrides,
  });
  await prepare?.(store);
  let accepted = buffered(store);
  await engine.start();
  return {
    ...{ clock, store, engine, metrics, klaviyo, requests: klaviyo.requests, logged, fatalErrors },
    async append(drafts) {
      const appended = await store.append(drafts);
      if (!appended.ok) throw new Error('the store is full');
      accepted += appended.envelopes.filter(({ duplicate }) => !duplicate).length;
    },
    async advance(ms) {
      for (let left = ms; left > 0; left -= stepMs) {
        await clock.advance(Math.min(stepMs, left));
        expect((await settledCount(metrics)) + buffered(store)).toBe(accepted);
      }
    },
    async stop() {
      const stopped = engine.stop();
      await clock.advance(longestMs);
      await stopped;
    },
  };
}

export const buffered = (store: MemoryStore): number =>
  lanes.reduce((sum, lane) => sum + store.depth(lane).count, 0);

async function settledCount(metrics: Metrics): Promise<number> {
  const { values } = await metrics.settled.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

function createStore(clock: ManualClock): MemoryStore {
  return new MemoryStore({
    clock,
    random: () => 0.5,
    capacity: { maxCount: 100_000, maxBytes: 100_000_000 },
    dedupe: { maxAgeMs: 60_000, maxCount: 100_000 },
    log: { maxCount: 1000, maxAgeMs: 3_600_000 },
    maxDeadLetters: 1000,
    facts: factBounds(),
    onDeadLetterDropped: () => undefined,
  });
}

/** Starts engines for the tests of one file. Stops each after its test, and checks that nothing is left open. */
export function useEngines(): typeof startEngine {
  const started: EngineUnderTest[] = [];
  afterEach(async () => {
    for (const under of started.splice(0)) {
      await under.stop();
      await under.store.close();
      expect(under.clock.pending()).toBe(0);
      expect(under.fatalErrors).toEqual([]);
    }
  });
  return async (script, options) => {
    const under = await startEngine(script, options);
    started.push(under);
    return under;
  };
}
