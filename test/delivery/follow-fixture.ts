import { setMaxListeners } from 'node:events';
import type { Destination } from '../../src/delivery/destination.js';
import { createFollower } from '../../src/delivery/follow.js';
import { createLimiter } from '../../src/delivery/limiter.js';
import { OverAge } from '../../src/delivery/over-age.js';
import { LanePauses } from '../../src/delivery/pauses.js';
import { createRecorder } from '../../src/delivery/record.js';
import { Refusals } from '../../src/delivery/refusals.js';
import type {
  Delivery,
  Followed,
  ListedImports,
  RateWindow,
  Settlement,
} from '../../src/envelope.js';
import { createMetrics } from '../../src/metrics.js';
import { aDelivery, aParcel, delivered } from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';

export const done: Followed = {
  job: { id: 'job-1', status: 'complete', completed: 1, failed: 0 },
  outcomes: [delivered],
  retryable: false,
  feedback: null,
};
export const running: Followed = {
  job: { id: 'job-1', status: 'processing', completed: 0, failed: 0 },
  outcomes: null,
  retryable: false,
  feedback: null,
};
export const lost: Followed = {
  ...running,
  job: { ...done.job, status: 'queued' },
  retryable: true,
};

export const noList: ListedImports = { open: [], end: 'failed', requests: 1, feedback: null };

const twoPerSecond: readonly RateWindow[] = [{ limit: 2, windowMs: 1000 }];

/** A follower over a far side without a list that takes two requests a second, and a store that remembers. */
export function createUnderTest(
  follow: Destination['follow'],
  {
    listImports = () => Promise.resolve(noList),
    windows = twoPerSecond,
  }: {
    readonly listImports?: Destination['listImports'];
    readonly windows?: readonly RateWindow[];
  } = {},
) {
  const clock = createManualClock();
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal);
  const settled: Settlement[] = [];
  /** Monotonic ms, by the job's reference. */
  const settledAt = new Map<string, number>();
  const faults: unknown[] = [];
  const log: string[] = [];
  const write = (_fields: object, text: string): void => void log.push(text);
  const pauses = new LanePauses({ lane: 'profiles', clock, log: { info: write, warn: write } });
  const follower = createFollower({
    buffer: {
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
      follow,
      listImports,
      merge: (payloads) => payloads.at(-1)!,
      send: () => Promise.reject(new Error('nothing is sent here')),
    },
    limiter: createLimiter({
      clock,
      bucket: { perSecond: 100, burst: 100 },
      windows: { events: [], profiles: [], imports: windows },
    }),
    refusals: () => new Refusals({ lane: 'profiles', clock, pauses, onEnd: () => undefined }),
    recorder: createRecorder({
      clock,
      metrics: createMetrics('test'),
      log: { info: write, warn: write },
    }),
    policy: { baseMs: 500, maxDelayMs: 4000, maxAttempts: 0, maxAgeMs: 0 },
    overAge: new OverAge({ clock, maxAgeMs: 0 }),
    clock,
    random: () => 0.5,
    signal: stopping.signal,
    onFault: (error) => void faults.push(error),
  });
  const begin = (ref = 'job-1', delivery: Partial<Delivery> = {}): void =>
    follower.follow({
      lane: 'profiles',
      ref,
      delivery: aDelivery({ lane: 'profiles', result: 'pending', ...delivery }),
      parcels: [aParcel('p1')],
    });
  return { clock, follower, settled, settledAt, faults, log, stopping, begin };
}
