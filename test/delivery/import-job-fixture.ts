import { setMaxListeners } from 'node:events';
import type { Destination, PollResult, ListedImportJobs } from '../../src/model/destination.js';
import { ImportJobPoller } from '../../src/delivery/import-job-poller.js';
import { createLocalLimiter } from '../../src/delivery/limiter/limiter.js';
import { FailureHistory } from '../../src/delivery/judge.js';
import { LanePauses } from '../../src/delivery/lane-state.js';
import { createRecorder } from '../../src/delivery/delivery-record.js';
import { UniformRejections } from '../../src/delivery/uniform-rejections.js';
import type { Delivery } from '../../src/model/delivery.js';
import type { RateWindow } from '../../src/model/limiter.js';
import type { Settlement } from '../../src/model/store.js';
import { createMetrics } from '../../src/metrics.js';
import { aDelivery, anItem, delivered } from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';

export const done: PollResult = {
  job: { id: 'job-1', status: 'complete', completed: 1, failed: 0 },
  outcomes: [delivered],
  retryable: false,
  feedback: null,
};
export const running: PollResult = {
  job: { id: 'job-1', status: 'processing', completed: 0, failed: 0 },
  outcomes: null,
  retryable: false,
  feedback: null,
};
export const lost: PollResult = {
  ...running,
  job: { ...done.job, status: 'queued' },
  retryable: true,
};

export const noList: ListedImportJobs = { open: [], end: 'failed', requests: 1, feedback: null };

const twoPerSecond: readonly RateWindow[] = [{ limit: 2, windowMs: 1000 }];

/** Creates a poller with a Klaviyo without a list that allows two requests a second, and a store that records settlements. */
export function createUnderTest(
  pollJob: Destination['pollImportJob'],
  {
    listImports = () => Promise.resolve(noList),
    windows = twoPerSecond,
    suppressWindows = [],
  }: {
    readonly listImports?: Destination['listImportJobs'];
    readonly windows?: readonly RateWindow[];
    readonly suppressWindows?: readonly RateWindow[];
  } = {},
) {
  const clock = createManualClock();
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal);
  const settled: Settlement[] = [];
  /** Monotonic ms, by the id of the job. */
  const settledAt = new Map<string, number>();
  const fatalErrors: unknown[] = [];
  const log: string[] = [];
  const write = (_fields: object, text: string): void => void log.push(text);
  const pauses = new LanePauses({ lane: 'profiles', clock, log: { info: write, warn: write } });
  const limiter = createLocalLimiter({
    clock,
    bucket: { perSecond: 100, burst: 100 },
    windows: { events: [], profiles: [], imports: windows, suppress: suppressWindows },
  });
  const poller = new ImportJobPoller({
    limiter,
    store: {
      settle(settlement) {
        settled.push(settlement);
        const ref = settlement.delivery?.importJob?.id;
        if (settlement.settled.length > 0 && ref !== undefined) {
          settledAt.set(ref, clock.monotonic());
        }
        return Promise.resolve();
      },
    },
    destination: {
      pollImportJob: pollJob,
      listImportJobs: listImports,
      merge: (payloads) => payloads.at(-1)!,
    },
    uniformRejections: () =>
      new UniformRejections({ lane: 'profiles', clock, pauses, onEnd: () => undefined }),
    recorder: createRecorder({
      clock,
      metrics: createMetrics('test'),
      log: { info: write, warn: write },
    }),
    unchangedProfiles: undefined,
    policy: { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 0 },
    failureHistory: new FailureHistory({ clock, maxAgeMs: 0 }),
    clock,
    random: () => 0.5,
    signal: stopping.signal,
    onFatal: (error) => void fatalErrors.push(error),
  });
  const begin = (ref = 'job-1', delivery: Partial<Delivery> = {}): void => {
    const { lane = 'profiles' } = delivery;
    poller.add({
      lane,
      ref,
      delivery: aDelivery({ lane, result: 'pending', ...delivery }),
      items: [anItem('p1')],
    });
  };
  return { clock, limiter, poller, settled, settledAt, fatalErrors, log, stopping, begin };
}
