import { wait, type Clock } from '../clock.js';
import type {
  Followed,
  Following,
  ImportJob,
  Lane,
  Outcome,
  UnfinishedImport,
} from '../envelope.js';
import { toAskedPause } from './asked-pause.js';
import type { Buffer, Destination } from './destination.js';
import type { Limiter, Permit } from './limiter.js';
import { LookQueue } from './look-queue.js';
import type { OverAge } from './over-age.js';
import { toPayloads } from './payloads.js';
import type { Recorder } from './record.js';
import type { Refusals } from './refusals.js';
import type { RetryPolicy } from './retry.js';
import { toFollowedDelivery, toSettled } from './settle.js';
import { splitBatch } from './split.js';

export type Follower = {
  /** Looks at the import job until it ended, then settles its envelopes. Owned here: it returns at once. */
  follow(unfinished: UnfinishedImport): void;
  /** Envelopes that wait for an import job. */
  waiting(): number;
  /** Import jobs that have not ended. */
  open(): OpenJobs;
  /** Resolves when no import job is followed any more. */
  idle(): Promise<void>;
};

export type OpenJobs = {
  readonly count: number;
  /** Measured by monotonic clocks, so it is never more than the true age; 0 where none is open. */
  readonly oldestAgeMs: number;
};

export type FollowerDeps = {
  readonly buffer: Pick<Buffer, 'settle'>;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly overAge: OverAge;
  readonly refusals: (lane: Lane) => Refusals;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Our own fault, such as a store that fails. */
  readonly onFault: (error: unknown) => void;
};

const firstLookMs = 500;
const slowdown = 1.5;
/** A job that is open for long is looked at after a twentieth of its age, within these bounds. */
const patience = { share: 1 / 20, minMs: 30_000, maxMs: 600_000 };
/** "0 seconds" has been seen, and a retry before time only gets another 429. */
const minPauseMs = 1000;
/** Klaviyo keeps an import job for 7 days: one that is older is over, however it ended. */
const maxOpenMs = 7 * 86_400_000;
/** The measured age is written down when it has grown so much; a restart loses no more. */
const saveAfter = { share: 1 / 10, minMs: 60_000 };
/** Looks under way at once. */
const maxLooks = 4;

type Job = {
  readonly unfinished: UnfinishedImport;
  /** Monotonic ms when this process began to follow it, less the time for which it was open before. */
  readonly openedAt: number;
  /** What is known of it, and what of that is written down. */
  known: Following;
  saved: Following;
};

export function createFollower(deps: FollowerDeps): Follower {
  const { clock } = deps;
  const followed = new Map<Job, Promise<void>>();
  const queue = new LookQueue(maxLooks);
  return {
    follow(unfinished) {
      const saved = unfinished.delivery.following ?? { openMs: 0, wasRead: false };
      const job: Job = {
        unfinished,
        openedAt: clock.monotonic() - saved.openMs,
        known: saved,
        saved,
      };
      const end = untilEnded(job, queue, deps)
        .catch(deps.onFault)
        .finally(() => followed.delete(job));
      followed.set(job, end);
    },
    waiting: () =>
      [...followed.keys()].reduce(
        (sum, { unfinished }) => sum + unfinished.parcels.flat().length,
        0,
      ),
    open() {
      const now = clock.monotonic();
      const ages = [...followed.keys()].map(({ openedAt }) => now - openedAt);
      return { count: ages.length, oldestAgeMs: ages.reduce((a, b) => Math.max(a, b), 0) };
    },
    async idle() {
      while (followed.size > 0) await Promise.all(followed.values());
    },
  };
}

async function untilEnded(job: Job, queue: LookQueue, deps: FollowerDeps): Promise<void> {
  const { clock, signal } = deps;
  let lookMs = firstLookMs;
  for (let looks = 0; !signal.aborted; looks++) {
    await wait(clock, lookMs, signal);
    await queue.enter(looks);
    const seen = await look(job.unfinished, deps).finally(() => queue.leave());
    if (seen === null) return;
    const openMs = clock.monotonic() - job.openedAt;
    const ended = toEnded(seen, { openMs, job });
    if (ended !== null) {
      await settleImport(job.unfinished, ended, deps);
      return;
    }
    job.known = toFollowing(seen, { openMs, job, clock });
    await save(job, deps);
    const { share, minMs, maxMs } = patience;
    const longestMs = Math.min(maxMs, Math.max(minMs, openMs * share));
    lookMs = Math.min(longestMs, lookMs * slowdown);
  }
}

/** Null where the relay stops meanwhile. */
async function look(
  { ref, parcels }: UnfinishedImport,
  deps: FollowerDeps,
): Promise<Followed | null> {
  if (deps.signal.aborted) return null;
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
    const pauseMs = toPauseMs(seen);
    if (pauseMs !== null) deps.limiter.pause('imports', pauseMs);
    return seen;
  } catch (error) {
    if (error === stopped) return null;
    throw error;
  } finally {
    open.pop()?.end(null);
  }
}

function toPauseMs({ feedback }: Followed): number | null {
  const waitMs = feedback?.retryAfterMs ?? null;
  return waitMs === null ? null : Math.max(minPauseMs, waitMs);
}

type Ended = { readonly job: ImportJob; readonly outcomes: readonly Outcome[] };

/** Pure: how the job ended, or null while it may still end. */
function toEnded(
  seen: Followed,
  { openMs, job }: { readonly openMs: number; readonly job: Job },
): Ended | null {
  const { job: state, outcomes } = seen;
  const isLost = job.known.wasRead && isGone(seen);
  if (outcomes !== null && !isLost) return { job: state, outcomes };
  if (!isLost && openMs < maxOpenMs) return null;
  // What became of it is unknown. An import is an upsert, so that it is safe to send again.
  const detail = 'the import job did not end while Klaviyo kept it';
  const reason = { code: 'import_expired', detail };
  const { parcels } = job.unfinished;
  return {
    job: { ...state, status: 'expired' },
    outcomes: parcels.map(() => ({ kind: 'retryable', reason })),
  };
}

/** A key that may not read the job has outcomes of another kind: Klaviyo still has the job. */
function isGone({ job, outcomes }: Followed): boolean {
  if (job.status !== 'unreadable' || job.completed !== null || job.failed !== null) return false;
  return outcomes?.every(({ kind }) => kind === 'retryable') === true;
}

/** What the next process has to know of the job. */
function toFollowing(
  seen: Followed,
  { openMs, job, clock }: { readonly openMs: number; readonly job: Job; readonly clock: Clock },
): Following {
  const pauseMs = toPauseMs(seen);
  return {
    openMs,
    wasRead: job.known.wasRead || !seen.retryable || seen.job.status !== 'queued',
    ...(pauseMs !== null && { pause: toAskedPause(clock, pauseMs) }),
  };
}

/** Writes down what is known where it differs enough from what is written. */
async function save(job: Job, { buffer }: FollowerDeps): Promise<void> {
  const { known, saved, unfinished } = job;
  const isPaused = known.pause !== undefined || saved.pause !== undefined;
  const enoughMs = Math.max(saveAfter.minMs, saved.openMs * saveAfter.share);
  if (!isPaused && known.openMs - saved.openMs < enoughMs) return;
  const { lane, delivery } = unfinished;
  await buffer.settle({ lane, settled: [], delivery: { ...delivery, following: known } });
  job.saved = known;
}

async function settleImport(
  { lane, delivery, parcels }: UnfinishedImport,
  { job, outcomes }: Ended,
  { buffer, clock, limiter, policy, overAge, random, recorder, refusals }: FollowerDeps,
): Promise<void> {
  const { judged } = splitBatch(parcels, outcomes);
  const judgedAs = toSettled(judged, {
    policy,
    random: random(),
    now: clock.now(),
    isWornOut: (envelope) => overAge.noteFailure(envelope),
  });
  const { settled, pauseMs } = refusals(lane).judge(judgedAs, 'job');
  if (pauseMs > 0) limiter.pause(lane, pauseMs);
  const ended = toFollowedDelivery(delivery, job, settled);
  await buffer.settle({ lane, settled, delivery: ended });
  recorder.settled(lane, settled);
  recorder.importEnded(ended);
}
