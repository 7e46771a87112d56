import { setMaxListeners } from 'node:events';
import type { Clock } from '../clock.js';
import { lanes, type Lane } from '../model/lane.js';
import type { Reason } from '../model/outcome.js';
import type { Metrics } from '../metrics.js';
import { createBatcher, type BatchBounds, type BatcherOptions } from './batcher.js';
import { deliver } from './deliver.js';
import type { DeliveryStore, DeliveryLogger, Destination } from '../model/destination.js';
import { attempt, sendOnce } from './attempt.js';
import { ImportJobPoller, type OpenImportJobs } from './import-job-poller.js';
import { LaneHealth } from './health.js';
import { RejectionProber } from './held-back.js';
import { Isolation } from './isolation.js';
import type { Limiter } from '../model/limiter.js';
import { FailureHistory } from './over-age.js';
import { LanePauses, type Pause } from './pauses.js';
import { createRecorder } from './record.js';
import { UniformRejections } from './refusals.js';
import type { RetryPolicy } from './retry.js';

export type EngineDeps = {
  readonly buffer: DeliveryStore & BatcherOptions['buffer'];
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly bounds: Readonly<Record<Lane, BatchBounds>>;
  /** Requests in flight at once, per lane. */
  readonly concurrency: number;
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly log: DeliveryLogger;
  readonly onFatal: (error: unknown) => void;
};

/** The delivery half: one isolated loop per lane over a shared limiter. */
export type Engine = {
  /** Begins to deliver, and to follow the import jobs that an earlier process left behind. */
  start(): Promise<void>;
  /** What is waiting leaves now; all lanes where none is named. */
  flush(lane?: Lane): void;
  /** Nothing waits for company any more. */
  drain(): void;
  /** Claims no more; resolves when what is in flight has ended. Import jobs are left to the store. */
  stop(): Promise<void>;
  /** Resolves when every import job that was begun has ended. */
  importJobsEnded(): Promise<void>;
  /** Why each lane does not send as usual; empty where it does. */
  pauses(): Readonly<Record<Lane, readonly Pause[]>>;
  /** By an operator: nothing of the lane leaves until `resume`. Not kept over a restart. */
  pause(lane: Lane): void;
  resume(lane: Lane): void;
  /** Nothing leaves while there is a reason: a rejection could not be kept. Null ends that. */
  setDeadLettersFull(reason: Reason | null): void;
  /** Envelopes that Klaviyo has taken and whose import job has not ended. */
  importing(): number;
  /** The import jobs that have not ended. */
  openJobs(): OpenImportJobs;
};

export function createEngine(deps: EngineDeps): Engine {
  const { clock, buffer } = deps;
  const claiming = new AbortController();
  const stopping = new AbortController();
  // Every import job that is followed listens to the end: many listeners are no leak.
  setMaxListeners(0, claiming.signal, stopping.signal);
  const recorder = createRecorder(deps);
  const newDeliveryId = createDeliveryIds(deps);
  const overAge = new FailureHistory({ clock, maxAgeMs: deps.policy.maxAgeMs });
  const poller = new ImportJobPoller({
    ...deps,
    failureHistory: overAge,
    recorder,
    signal: stopping.signal,
    uniformRejections: (lane): UniformRejections => byLane[lane].refusals,
  });
  const ofLane = (lane: Lane) => {
    const bounds = deps.bounds[lane];
    const batcher = createBatcher({ lane, bounds, clock, buffer });
    const pauses = new LanePauses({ lane, clock, log: deps.log });
    const health = new LaneHealth({ ...deps, bounds, pauses });
    const refusals = new UniformRejections({ lane, clock, pauses, onEnd: () => heldBack.wake() });
    const isolation: Isolation = new Isolation({
      ...{ ...deps, lane, failureHistory: overAge, health, pauses, signal: stopping.signal },
      maxItems: 2 * deps.concurrency * bounds.maxCount,
      send: (part) => sendOnce(part, laneDeps),
      onSettled: (settled) => recorder.recordSettled(lane, settled),
    });
    const heldBack: RejectionProber = new RejectionProber({
      ...{ ...deps, lane, health, pauses, refusals, signal: stopping.signal },
      send: (items, permit) =>
        attempt({ trigger: 'time', items, permit }, laneDeps, stopping.signal),
    });
    const laneDeps = {
      ...deps,
      lane,
      batcher,
      pauses,
      health,
      isolation,
      refusals,
      heldBack,
      poller,
      overAge,
      recorder,
      newDeliveryId,
    };
    return laneDeps;
  };
  const byLane = { events: ofLane('events'), profiles: ofLane('profiles') };
  const signals = { claiming: claiming.signal, splitting: stopping.signal };
  let loops: Promise<unknown> = Promise.resolve();

  return {
    async start() {
      const followAll = async (): Promise<void> => {
        for (const unfinished of await buffer.unfinishedImportJobs()) poller.add(unfinished);
      };
      await followAll();
      buffer.onUnfinishedImportJobs?.(() => {
        if (!stopping.signal.aborted) followAll().catch(deps.onFatal);
      });
      loops = Promise.all(lanes.map((lane) => deliver(byLane[lane], signals).catch(deps.onFatal)));
    },
    flush: (lane) =>
      lanes
        .filter((each) => each === (lane ?? each))
        .forEach((each) => byLane[each].batcher.flush()),
    drain: () => lanes.forEach((lane) => byLane[lane].batcher.drain()),
    async stop() {
      claiming.abort();
      stopping.abort();
      await loops;
      await poller.idle();
      lanes.forEach((lane) => byLane[lane].batcher.close());
    },
    importJobsEnded: () => poller.idle(),
    pauses: () => ({
      events: byLane.events.pauses.list(),
      profiles: byLane.profiles.pauses.list(),
    }),
    pause: (lane) => byLane[lane].pauses.begin('by_hand', byHand),
    resume(lane) {
      const { pauses, refusals } = byLane[lane];
      pauses.end('by_hand');
      refusals.override(buffer.claimable(lane).count);
    },
    setDeadLettersFull: (reason) =>
      lanes.forEach((lane) => {
        const { pauses } = byLane[lane];
        if (reason === null) pauses.end('dead_letters_full');
        else pauses.begin('dead_letters_full', reason);
      }),
    importing: () => poller.countEnvelopes(),
    openJobs: () => poller.openJobs(),
  };
}

const byHand: Reason = { code: 'by_hand', detail: 'an operator paused it' };

/** Unique over relays, and sorted by time: `dl_` + ms in base 36 + a counter + four random characters. */
function createDeliveryIds({ clock, random }: Pick<EngineDeps, 'clock' | 'random'>): () => string {
  let count = 0;
  const inBase36 = (value: number, width: number): string =>
    value.toString(36).padStart(width, '0');
  return () => {
    count = (count + 1) % 36 ** 3;
    return `dl_${inBase36(clock.now(), 9)}${inBase36(count, 3)}${inBase36(Math.floor(random() * 36 ** 4), 4)}`;
  };
}
