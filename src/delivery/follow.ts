import { wait, type Clock } from '../clock.js';
import type { Followed, UnfinishedImport } from '../envelope.js';
import type { Buffer, Destination } from './destination.js';
import type { Limiter, Permit } from './limiter.js';
import { toPayloads } from './payloads.js';
import type { Recorder } from './record.js';
import type { RetryPolicy } from './retry.js';
import { toFollowedDelivery, toSettled } from './settle.js';
import { splitBatch } from './split.js';

export type Follower = {
  /** Looks at the import job until it ended, then settles its envelopes. Owned here: it returns at once. */
  follow(unfinished: UnfinishedImport): void;
  /** Envelopes that wait for an import job. */
  waiting(): number;
  /** Resolves when no import job is followed any more. */
  idle(): Promise<void>;
};

export type FollowerDeps = {
  readonly buffer: Pick<Buffer, 'settle'>;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Our own fault, such as a store that fails. */
  readonly onFault: (error: unknown) => void;
};

const firstLookMs = 500;
const slowdown = 1.5;
const maxLookMs = 30_000;
/** "0 seconds" has been seen, and a retry before time only gets another 429. */
const minPauseMs = 1000;

export function createFollower(deps: FollowerDeps): Follower {
  const followed = new Map<UnfinishedImport, Promise<void>>();
  return {
    follow(unfinished) {
      const end = untilEnded(unfinished, deps)
        .catch(deps.onFault)
        .finally(() => followed.delete(unfinished));
      followed.set(unfinished, end);
    },
    waiting: () =>
      [...followed.keys()].reduce((sum, { parcels }) => sum + parcels.flat().length, 0),
    async idle() {
      while (followed.size > 0) await Promise.all(followed.values());
    },
  };
}

async function untilEnded(unfinished: UnfinishedImport, deps: FollowerDeps): Promise<void> {
  const { clock, signal } = deps;
  for (let lookMs = firstLookMs; !signal.aborted; lookMs = Math.min(maxLookMs, lookMs * slowdown)) {
    await wait(clock, lookMs, signal);
    const seen = await look(unfinished, deps);
    if (seen?.outcomes != null) {
      await settleImport(unfinished, { ...seen, outcomes: seen.outcomes }, deps);
      return;
    }
  }
}

/** Null where the relay stops meanwhile. */
async function look(
  { ref, parcels }: UnfinishedImport,
  deps: FollowerDeps,
): Promise<Followed | null> {
  const open: Permit[] = [];
  const stopped = new Error('stopped');
  try {
    const payloads = () => toPayloads(parcels, deps.destination);
    const imported = { count: parcels.length, payloads };
    const seen = await deps.destination.follow(ref, imported, async () => {
      open.pop()?.end(null);
      const permit = await deps.limiter.take('imports', deps.signal);
      if (permit === null) throw stopped;
      open.push(permit);
    });
    open.pop()?.end(seen.feedback);
    const waitMs = seen.feedback?.retryAfterMs ?? null;
    if (waitMs !== null) deps.limiter.pause('imports', Math.max(minPauseMs, waitMs));
    return seen;
  } catch (error) {
    if (error === stopped) return null;
    throw error;
  } finally {
    open.pop()?.end(null);
  }
}

async function settleImport(
  { lane, delivery, parcels }: UnfinishedImport,
  { job, outcomes }: Followed & { readonly outcomes: NonNullable<Followed['outcomes']> },
  { buffer, clock, policy, random, recorder }: FollowerDeps,
): Promise<void> {
  const { judged } = splitBatch(parcels, outcomes);
  const settled = toSettled(judged, { policy, random: random(), now: clock.now() });
  const ended = toFollowedDelivery(delivery, job, settled);
  await buffer.settle({ lane, settled, delivery: ended });
  recorder.settled(lane, settled);
  recorder.importEnded(ended);
}
