import { afterEach, expect } from 'vitest';
import { wait } from '../../src/clock.js';
import type { Destination } from '../../src/model/destination.js';
import { createEngine, type Engine, type EngineDeps } from '../../src/delivery/engine.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import { lanes, type Lane } from '../../src/model/lane.js';
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

/** Decides one payload's outcome; `number` counts requests from 1. */
export type Script = (text: string, request: Request, number: number) => Outcome;

export type Look = { readonly ref: string; readonly at: number; readonly texts: readonly string[] };

/** Decides what a look at an import job shows; null while it runs. `number` counts looks from 1. */
export type JobScript = (look: Look, number: number) => readonly Outcome[] | null;

export type Far = Destination & {
  readonly requests: readonly Request[];
  readonly looks: readonly Look[];
  /** Of each request, whether it might still go just before its answer; null where nobody says. */
  readonly goes: readonly (boolean | null)[];
  /** Most requests to one lane that were under way at once. */
  readonly busiest: Readonly<Record<Lane, number>>;
};

type FarOptions = {
  readonly clock: ManualClock;
  readonly script: Script;
  readonly jobs?: JobScript;
  readonly latencyMs?: number;
};

const noJobs: JobScript = () => {
  throw new Error('no import job was begun');
};

/** A far side in this process: it answers by script, and remembers what it was asked. */
export function createFar({ clock, script, jobs = noJobs, latencyMs = 5 }: FarOptions): Far {
  const requests: Request[] = [];
  const looks: Look[] = [];
  const goes: (boolean | null)[] = [];
  const underWay = { events: 0, profiles: 0 };
  const busiest = { events: 0, profiles: 0 };
  return {
    requests,
    looks,
    goes,
    busiest,
    merge: (payloads) => toBytes(toTexts(payloads).join('+')),
    async send(lane, payloads, mayGo) {
      const request = { lane, at: clock.monotonic(), texts: toTexts(payloads) };
      const number = requests.push(request);
      busiest[lane] = Math.max(busiest[lane], ++underWay[lane]);
      await wait(clock, latencyMs);
      underWay[lane]--;
      goes.push(mayGo?.() ?? null);
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
    async pollImportJob(ref, imported, permit): Promise<PollResult> {
      await permit();
      const look = { ref, at: clock.monotonic(), texts: toTexts(imported.payloads()) };
      const outcomes = jobs(look, looks.push(look));
      const status = outcomes === null ? 'processing' : 'complete';
      const job = { id: ref, status, completed: null, failed: null } as const;
      return { job, outcomes, retryable: false, feedback: null };
    },
    /** It has no list, so that each job is looked at. */
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
  readonly far: Far;
  readonly requests: readonly Request[];
  /** Log lines, a text each. */
  readonly logged: readonly string[];
  /** What the engine called our own fault; a test that expects one takes it out. */
  readonly faults: unknown[];
  append(drafts: readonly Draft[]): Promise<void>;
  /** Lets time pass in small steps; after each, accepted = delivered + merged + dead + buffered. */
  advance(ms: number): Promise<void>;
  /** Stops the engine, whatever is under way. */
  stop(): Promise<void>;
};

export type EngineOptions = Omit<FarOptions, 'clock' | 'script'> & {
  readonly clock?: ManualClock;
  readonly overrides?: Partial<EngineDeps>;
  /** What an earlier process left in the store. */
  readonly prepare?: (store: MemoryStore) => Promise<void>;
};

const bounds = { maxCount: 100, maxBytes: 1_000_000, maxAgeMs: 100 };
const stepMs = 100;
/** Longer than any latency of a test. */
const longestMs = 20_000;

/** The delivery half over a memory store and a far side in this process, on a manual clock. */
export async function startEngine(
  script: Script,
  { clock = createManualClock(), overrides, prepare, ...options }: EngineOptions = {},
): Promise<EngineUnderTest> {
  const store = createStore(clock);
  const far = createFar({ clock, script, ...options });
  const metrics = createMetrics('test');
  const logged: string[] = [];
  const faults: unknown[] = [];
  const windows = { events: [], profiles: [], imports: [] };
  const log = (fields: object, text: string): void =>
    void logged.push(`${text} ${JSON.stringify(fields)}`);
  const engine = createEngine({
    buffer: store,
    destination: far,
    limiter: createLocalLimiter({ clock, bucket: { perSecond: 1000, burst: 1000 }, windows }),
    bounds: { events: bounds, profiles: bounds },
    concurrency: 4,
    policy: { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 0 },
    clock,
    random: () => 0.5,
    metrics,
    log: { info: log, warn: log },
    onFatal: (error) => void faults.push(error),
    ...overrides,
  });
  await prepare?.(store);
  let accepted = buffered(store);
  await engine.start();
  return {
    ...{ clock, store, engine, metrics, far, requests: far.requests, logged, faults },
    async append(drafts) {
      const appended = await store.append(drafts);
      if (!appended.ok) throw new Error('refused');
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

/** Starts engines for the tests of one file; stops each after its test, when nothing may be left open. */
export function useEngines(): typeof startEngine {
  const started: EngineUnderTest[] = [];
  afterEach(async () => {
    for (const under of started.splice(0)) {
      await under.stop();
      await under.store.close();
      expect(under.clock.pending()).toBe(0);
      expect(under.faults).toEqual([]);
    }
  });
  return async (script, options) => {
    const under = await startEngine(script, options);
    started.push(under);
    return under;
  };
}
