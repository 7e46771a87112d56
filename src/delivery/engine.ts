import { setMaxListeners } from 'node:events';
import type { Clock } from '../clock.js';
import type { Metrics } from '../metrics.js';
import type { DeliveryLogger, DeliveryStore, Destination } from '../model/destination.js';
import { lanes, mapLanes, type Lane } from '../model/lane.js';
import type { Limiter } from '../model/limiter.js';
import type { Reason } from '../model/outcome.js';
import { createBatcher, type BatchBounds, type ClaimableQueues } from './batcher.js';
import { deliverLane, sendBatch, sendRequest, type LaneParts, type Review } from './deliver.js';
import { createRecorder } from './delivery-record.js';
import { ImportJobPoller, type OpenImportJobs } from './import-job-poller.js';
import { Isolation } from './isolation.js';
import { FailureHistory, type RetryPolicy } from './judge.js';
import { createLaneLimiter } from './limiter/lane-limiter.js';
import { LaneHealth, LanePauses, type Pause } from './lane-state.js';
import { UnchangedProfiles, type UnchangedProfilesOptions } from './unchanged-profiles.js';
import { RejectionProber, UniformRejections } from './uniform-rejections.js';

/**
 * The delivery half: takes envelopes from the store and sends them to Klaviyo until each is settled.
 *
 * | file                  | what it does                                                             |
 * |-----------------------|--------------------------------------------------------------------------|
 * | deliver.ts            | the loop of one lane: permit, claim, send, judge, settle                 |
 * | batcher.ts            | when a batch is closed                                                   |
 * | judge.ts              | outcomes to verdicts: acknowledge, retry, dead-letter, poll              |
 * | lane-state.ts         | the pauses of a lane, and when an outage begins and ends                 |
 * | isolation.ts          | finds a record that makes requests fail without being named              |
 * | uniform-rejections.ts | keeps envelopes when Klaviyo rejects everything for one reason           |
 * | import-job-poller.ts  | polls the jobs that Klaviyo made of accepted requests                    |
 * | unchanged-profiles.ts | finds profiles whose request would change nothing                        |
 * | delivery-record.ts    | the delivery log, log lines and metrics                                  |
 * | limiter/              | when a request may leave                                                 |
 *
 * The lanes share the limiter, the poller and the failure history; everything else exists once for each lane, so
 * that a lane that fails does not delay another.
 */
export type Engine = {
  /** Begins to deliver, and to poll the import jobs that an earlier process left. */
  start(): Promise<void>;
  /** Sends at once what waits in the lane, or in all lanes if none is given. */
  flush(lane?: Lane): void;
  /** From now on, no batch waits to be filled. */
  drain(): void;
  /** Stops claiming. Resolves when nothing is in flight. Import jobs stay in the store. */
  stop(): Promise<void>;
  /** Resolves when every import job has ended. */
  importJobsEnded(): Promise<void>;
  /** Why each lane does not send as usual; empty if it does. */
  pauses(): Readonly<Record<Lane, readonly Pause[]>>;
  /** An operator pauses the lane: nothing is sent until `resume`. A restart ends the pause. */
  pause(lane: Lane): void;
  resume(lane: Lane): void;
  /** Sends nothing while there is a reason: a dead letter could not be kept. Null ends that. */
  setDeadLettersFull(reason: Reason | null): void;
  /** The number of envelopes that Klaviyo accepted and whose import job has not ended. */
  importing(): number;
  /** The import jobs that have not ended, of one lane or of all. */
  openJobs(lane?: Lane): OpenImportJobs;
};

export type EngineDeps = {
  readonly store: DeliveryStore & ClaimableQueues;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly bounds: Readonly<Record<Lane, BatchBounds>>;
  /** Maximum of requests in flight for each lane. */
  readonly concurrency: number;
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly log: DeliveryLogger;
  /** Absent: every claimed envelope is sent. */
  readonly review?: Review;
  /** PROFILE_UNCHANGED_TTL in ms, and the bound of what is kept for it. Absent: every profile is sent. */
  readonly unchanged?: Pick<UnchangedProfilesOptions, 'ttlMs' | 'maxCount'> | undefined;
  readonly onFatal: (error: unknown) => void;
};

const pausedByHand: Reason = { code: 'by_hand', detail: 'an operator paused it' };

export function createEngine(deps: EngineDeps): Engine {
  const { store, destination, concurrency, policy, clock, random, log, onFatal } = deps;
  const claiming = new AbortController();
  const stopping = new AbortController();
  // Every import job that is polled listens to these signals, so many listeners are no leak.
  setMaxListeners(0, claiming.signal, stopping.signal);
  const recorder = createRecorder({ clock, metrics: deps.metrics, log });
  const createDeliveryId = createDeliveryIds(clock, random);
  const failureHistory = new FailureHistory({ clock, maxAgeMs: policy.maxAgeMs });
  const unchangedProfiles =
    deps.unchanged && new UnchangedProfiles({ ...deps.unchanged, clock, destination });
  const poller = new ImportJobPoller({
    unchangedProfiles,
    store,
    destination,
    limiter: deps.limiter,
    recorder,
    policy,
    failureHistory,
    uniformRejections: (lane): UniformRejections => partsByLane[lane].uniformRejections,
    clock,
    random,
    signal: stopping.signal,
    onFatal,
  });

  const createLane = (lane: Lane): LaneParts => {
    const limiter = createLaneLimiter(deps.limiter, lane);
    const bounds = deps.bounds[lane];
    const batcher = createBatcher({ lane, bounds, clock, store });
    const pauses = new LanePauses({ lane, clock, log });
    const health = new LaneHealth({ pauses, policy, concurrency, bounds });
    const uniformRejections = new UniformRejections({
      lane,
      clock,
      pauses,
      onEnd: () => prober.wake(),
    });
    const prober: RejectionProber = new RejectionProber({
      lane,
      store,
      limiter,
      pauses,
      health,
      uniformRejections,
      clock,
      random,
      signal: stopping.signal,
      send: (items, permit) =>
        sendBatch({ trigger: 'time', items, permit }, parts, stopping.signal),
      onFatal,
    });
    const isolation: Isolation = new Isolation({
      lane,
      store,
      limiter,
      health,
      pauses,
      policy,
      failureHistory,
      clock,
      random,
      signal: stopping.signal,
      maxItems: 2 * concurrency * bounds.maxCount,
      send: (part) => sendRequest(part, parts),
      onSettled: (settled) => recorder.recordSettled(lane, settled),
      onFatal,
    });
    const parts: LaneParts = {
      lane,
      store,
      destination,
      limiter,
      batcher,
      pauses,
      health,
      isolation,
      uniformRejections,
      prober,
      poller,
      recorder,
      policy,
      failureHistory,
      clock,
      random,
      createDeliveryId,
      review: deps.review,
      unchangedProfiles,
      onFatal,
    };
    return parts;
  };
  const partsByLane = mapLanes(createLane);
  let loops: Promise<unknown> = Promise.resolve();

  const pollUnfinishedJobs = async (): Promise<void> => {
    for (const unfinished of await store.unfinishedImportJobs()) poller.add(unfinished);
  };

  return {
    async start() {
      await pollUnfinishedJobs();
      store.onUnfinishedImportJobs?.(() => {
        if (!stopping.signal.aborted) pollUnfinishedJobs().catch(onFatal);
      });
      const signals = { claiming: claiming.signal, splitting: stopping.signal };
      loops = Promise.all(
        lanes.map((lane) => deliverLane(partsByLane[lane], signals).catch(onFatal)),
      );
    },
    flush(lane) {
      for (const each of lane === undefined ? lanes : [lane]) partsByLane[each].batcher.flush();
    },
    drain() {
      for (const lane of lanes) partsByLane[lane].batcher.drain();
    },
    async stop() {
      claiming.abort();
      stopping.abort();
      await loops;
      await poller.idle();
      for (const lane of lanes) partsByLane[lane].batcher.close();
    },
    importJobsEnded: () => poller.idle(),
    pauses: () => mapLanes((lane) => partsByLane[lane].pauses.list()),
    pause: (lane) => partsByLane[lane].pauses.begin('by_hand', pausedByHand),
    resume(lane) {
      const { pauses, uniformRejections } = partsByLane[lane];
      pauses.end('by_hand');
      uniformRejections.override(store.claimable(lane).count);
    },
    setDeadLettersFull(reason) {
      for (const lane of lanes) {
        const { pauses } = partsByLane[lane];
        if (reason === null) pauses.end('dead_letters_full');
        else pauses.begin('dead_letters_full', reason);
      }
    },
    importing: () => poller.countEnvelopes(),
    openJobs: (lane) => poller.openJobs(lane),
  };
}

/** An id is unique over relays and sorted by time: `dl_`, ms in base 36, a counter, four random characters. */
function createDeliveryIds(clock: Clock, random: () => number): () => string {
  let count = 0;
  const inBase36 = (value: number, width: number): string =>
    value.toString(36).padStart(width, '0');
  return () => {
    count = (count + 1) % 36 ** 3;
    return `dl_${inBase36(clock.now(), 9)}${inBase36(count, 3)}${inBase36(Math.floor(random() * 36 ** 4), 4)}`;
  };
}
