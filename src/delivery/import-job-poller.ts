import type { Clock } from '../clock.js';
import type { PollResult, ListedImportJobs } from '../model/destination.js';
import type { PollProgress, ImportJob, UnfinishedImportJob } from '../model/delivery.js';
import type { Lane } from '../model/lane.js';
import type { Outcome } from '../model/outcome.js';
import type { RateFeedback } from '../model/limiter.js';
import { toRequestedPause } from './requested-pause.js';
import { Signal } from './signal.js';
import type { DeliveryStore, Destination } from '../model/destination.js';
import type { Limiter, Permit } from '../model/limiter.js';
import { ListPollPolicy } from './list-use.js';
import { PollQueue } from './poll-queue.js';
import type { FailureHistory } from './over-age.js';
import { toPayloads } from './payloads.js';
import type { Recorder } from './record.js';
import type { UniformRejections } from './refusals.js';
import type { RetryPolicy } from './retry.js';
import { toEndedDelivery, judgeItems } from './settle.js';
import { splitBatch } from './split.js';

export type OpenImportJobs = {
  readonly count: number;
  /** Measured by monotonic clocks, so it is never more than the true age; 0 where none is open. */
  readonly oldestAgeMs: number;
};

export type ImportJobPollerDeps = {
  readonly buffer: Pick<DeliveryStore, 'settle'>;
  readonly destination: Destination;
  readonly limiter: Limiter;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly failureHistory: FailureHistory;
  readonly uniformRejections: (lane: Lane) => UniformRejections;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Our own fault, such as a store that fails. */
  readonly onFatal: (error: unknown) => void;
};

const firstLookMs = 500;
/** Then a job is looked at after half the time for which it was followed. */
const slowdown = 1 / 2;
/** A job that is open for long is looked at after a twentieth of its age, within these bounds. */
const patience = { share: 1 / 20, minMs: 30_000, maxMs: 600_000 };
/** A job that the list shows as open for so long is looked at by itself as well: a cache may be in between. */
const longestUnlookedMs = 3_600_000;
/** "0 seconds" has been seen, and a retry before time only gets another 429. */
const minPauseMs = 1000;
/** Klaviyo keeps an import job for 7 days: one that is older is over, however it ended. */
const maxOpenMs = 7 * 86_400_000;
/** The measured age is written down when it has grown so much; a restart loses no more. */
const saveAfter = { share: 1 / 10, minMs: 60_000 };
/** Looks under way at once. */
const maxLooks = 4;

type Job = {
  readonly unfinished: UnfinishedImportJob;
  /** Monotonic ms when this process began to follow it. */
  readonly followedAt: number;
  /** The same, less the time for which it was open before. */
  readonly openedAt: number;
  /** What is known of it, and what of that is written down. */
  known: PollProgress;
  saved: PollProgress;
  /** Monotonic ms of its next poll, and of the latest look at the job itself. */
  dueAt: number;
  lookedAt: number;
  looks: number;
  /** The list showed it as open when it was last read. */
  isListed: boolean;
  /** A look at the job itself is under way, or waits for its turn. */
  isLookedAt: boolean;
};

/**
 * Polls import jobs until each has ended. While several are open, one request for the list of open jobs
 * stands for a look at each of them. The list never ends a job: a job that it does not show any more is
 * looked at by itself, and so is each job that is due while the list is of no use.
 */
export class ImportJobPoller {
  readonly #deps: ImportJobPollerDeps;
  readonly #jobs = new Set<Job>();
  readonly #looks = new PollQueue(maxLooks);
  readonly #list: ListPollPolicy;
  /** Rings when a job was added, and when a look has ended. */
  readonly #bell = new Signal();
  /** The loop, while it runs, and the looks. */
  readonly #running = new Set<Promise<void>>();
  #isPolling = false;

  constructor(deps: ImportJobPollerDeps) {
    this.#deps = deps;
    this.#list = new ListPollPolicy(deps.clock);
  }

  /** Envelopes that wait for an import job. */
  countEnvelopes(): number {
    return this.#open().reduce((sum, { unfinished }) => sum + unfinished.items.flat().length, 0);
  }

  openJobs(): OpenImportJobs {
    const now = this.#deps.clock.monotonic();
    const ages = this.#open().map(({ openedAt }) => now - openedAt);
    return { count: ages.length, oldestAgeMs: ages.reduce((a, b) => Math.max(a, b), 0) };
  }

  #open(): readonly Job[] {
    return [...this.#jobs];
  }

  /** Polls the import job until it has ended, then settles its envelopes. Returns at once. */
  add(unfinished: UnfinishedImportJob): void {
    const followedAt = this.#deps.clock.monotonic();
    const saved = unfinished.delivery.following ?? { openMs: 0, wasRead: false };
    this.#jobs.add({
      unfinished,
      followedAt,
      openedAt: followedAt - saved.openMs,
      known: saved,
      saved,
      dueAt: followedAt + firstLookMs,
      lookedAt: followedAt,
      looks: 0,
      isListed: false,
      isLookedAt: false,
    });
    this.#bell.notify();
    if (!this.#isPolling) this.#run(() => this.#poll());
  }

  /** Resolves when no import job is polled any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #run(work: () => Promise<void>): void {
    const running = work()
      .catch(this.#deps.onFatal)
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #poll(): Promise<void> {
    const { clock, signal } = this.#deps;
    this.#isPolling = true;
    try {
      while (this.#jobs.size > 0 && !signal.aborted) {
        const jobs = this.#open().filter(({ isLookedAt }) => !isLookedAt);
        const dueAt = jobs.reduce((at, job) => Math.min(at, job.dueAt), Infinity);
        // What the list showed last is not worked off yet: reading it again would only delay that.
        const isBusy = this.#jobs.size - jobs.length >= maxLooks && this.#list.isOfUse(jobs.length);
        const pollAt = isBusy ? Infinity : this.#list.toPollAt(dueAt, jobs.length);
        const delayMs = pollAt - clock.monotonic();
        if (delayMs > 0) {
          await this.#bell.wait(clock, delayMs === Infinity ? null : delayMs, signal);
        } else {
          for (const job of await this.#findToLookAt(jobs)) this.#look(job);
        }
      }
    } finally {
      this.#isPolling = false;
      if (signal.aborted) this.#jobs.clear();
    }
  }

  /** The jobs to look at by themselves. The list is read first, if it is of use, and tells of the others. */
  async #findToLookAt(jobs: readonly Job[]): Promise<readonly Job[]> {
    const now = this.#deps.clock.monotonic();
    const due = new Set(jobs.filter(({ dueAt }) => dueAt <= now));
    if (!this.#list.isOfUse(jobs.length)) return [...due];
    const listed = await this.#readList(jobs);
    // The relay stops.
    if (listed === null) return [];
    const open = new Map(listed.open.map((state) => [state.id, state]));
    const found: Job[] = [];
    for (const job of jobs) {
      const { isListed, lookedAt, unfinished } = job;
      job.isListed = open.has(unfinished.ref);
      const isOverdue = now - lookedAt >= longestUnlookedMs;
      const hasVanished = isListed && listed.end === 'complete';
      if (job.isListed ? isOverdue : due.has(job) || hasVanished) found.push(job);
    }
    await Promise.all(
      jobs.map(async (job) => {
        const state = open.get(job.unfinished.ref);
        if (state !== undefined) await this.#note(job, toSeen(state));
      }),
    );
    const pauseMs = toPauseMs(listed);
    if (pauseMs !== null) await this.#savePause(pauseMs);
    return found.filter((job) => this.#jobs.has(job));
  }

  /** One job carries the pause over a restart: it holds for all. */
  async #savePause(pauseMs: number): Promise<void> {
    const [job] = this.#jobs;
    if (job === undefined) return;
    job.known = { ...job.known, pause: toRequestedPause(this.#deps.clock, pauseMs) };
    await save(job, this.#deps);
  }

  async #readList(jobs: readonly Job[]): Promise<ListedImportJobs | null> {
    const { destination } = this.#deps;
    const refs = new Set(jobs.map(({ unfinished }) => unfinished.ref));
    const listed = await withPermits(this.#deps, (permit) =>
      destination.listImportJobs(refs, permit),
    );
    if (listed !== null) this.#list.note(listed);
    return listed;
  }

  #look(job: Job): void {
    job.isLookedAt = true;
    this.#run(async () => {
      try {
        await this.#looks.enter(job.looks++);
        const seen = await look(job.unfinished, this.#deps).finally(() => this.#looks.leave());
        job.lookedAt = this.#deps.clock.monotonic();
        if (seen !== null)
          await this.#note(job, this.#isOfAnother(job, seen) ? toLost(seen) : seen);
      } catch (error) {
        this.#jobs.delete(job);
        throw error;
      } finally {
        job.isLookedAt = false;
        this.#bell.notify();
      }
    });
  }

  /** True if something in between mixed up the answers to two looks. */
  #isOfAnother(job: Job, { reportedId: answeredId }: PollResult): boolean {
    return (
      answeredId !== job.unfinished.ref &&
      this.#open().some(({ unfinished }) => unfinished.ref === answeredId)
    );
  }

  /** Settles the job where it ended, and otherwise says when it is polled next. */
  async #note(job: Job, seen: PollResult): Promise<void> {
    const { clock } = this.#deps;
    const now = clock.monotonic();
    const openMs = now - job.openedAt;
    const ended = toEnded(seen, { openMs, job });
    if (ended !== null) {
      await settleImport(job.unfinished, ended, this.#deps);
      this.#jobs.delete(job);
      return;
    }
    job.known = toFollowing(seen, { openMs, job, clock });
    job.dueAt = now + toDelayMs({ openMs, followedMs: now - job.followedAt });
    await save(job, this.#deps);
  }
}

/** Pure: how long a job that is open is left alone. */
function toDelayMs({ openMs, followedMs }: { openMs: number; followedMs: number }): number {
  const { share, minMs, maxMs } = patience;
  const longestMs = Math.min(maxMs, Math.max(minMs, openMs * share));
  return Math.min(longestMs, firstLookMs + followedMs * slowdown);
}

/** What a look at a job would have told that the list shows as open. */
const toSeen = (job: ImportJob): PollResult => {
  return { job, outcomes: null, retryable: false, feedback: null };
};

/** The look says nothing of the job, and is worth repeating. */
const toLost = (seen: PollResult): PollResult => {
  const job: ImportJob = { ...seen.job, status: 'queued', completed: null, failed: null };
  return { ...seen, job, outcomes: null, retryable: true };
};

/** Null where the relay stops meanwhile. */
async function look(
  { ref, items: items }: UnfinishedImportJob,
  deps: ImportJobPollerDeps,
): Promise<PollResult | null> {
  const payloads = () => toPayloads(items, deps.destination);
  const imported = { count: items.length, payloads };
  return withPermits(deps, (permit) => deps.destination.pollImportJob(ref, imported, permit));
}

/**
 * Runs a poll with a permit for each of its requests, and makes the pause that Klaviyo asks for. Null where
 * the relay stops meanwhile.
 */
async function withPermits<T extends { readonly feedback: RateFeedback | null }>(
  { limiter, signal }: Pick<ImportJobPollerDeps, 'limiter' | 'signal'>,
  poll: (permit: () => Promise<void>) => Promise<T>,
): Promise<T | null> {
  if (signal.aborted) return null;
  const open: Permit[] = [];
  const stopped = new Error('stopped');
  try {
    const polled = await poll(async () => {
      open.pop()?.end(null);
      const permit = await limiter.acquire('imports', signal);
      if (permit === null) throw stopped;
      open.push(permit);
    });
    open.pop()?.end(polled.feedback);
    const pauseMs = toPauseMs(polled);
    if (pauseMs !== null) limiter.pause('imports', pauseMs);
    return polled;
  } catch (error) {
    if (error === stopped) return null;
    throw error;
  } finally {
    open.pop()?.end(null);
  }
}

function toPauseMs({ feedback }: { readonly feedback: RateFeedback | null }): number | null {
  const waitMs = feedback?.retryAfterMs ?? null;
  return waitMs === null ? null : Math.max(minPauseMs, waitMs);
}

type Ended = { readonly job: ImportJob; readonly outcomes: readonly Outcome[] };

/** Pure: how the job ended, or null while it may still end. */
function toEnded(
  seen: PollResult,
  { openMs, job }: { readonly openMs: number; readonly job: Job },
): Ended | null {
  const { job: state, outcomes } = seen;
  const isLost = job.known.wasRead && isGone(seen);
  if (outcomes !== null && !isLost) return { job: state, outcomes };
  if (!isLost && openMs < maxOpenMs) return null;
  // What became of it is unknown. An import is an upsert, so that it is safe to send again.
  const detail = 'the import job did not end while Klaviyo kept it';
  const reason = { code: 'import_expired', detail };
  const { items: items } = job.unfinished;
  return {
    job: { ...state, status: 'expired' },
    outcomes: items.map(() => ({ kind: 'retryable', reason })),
  };
}

/** A key that may not read the job has outcomes of another kind: Klaviyo still has the job. */
function isGone({ job, outcomes }: PollResult): boolean {
  if (job.status !== 'unreadable' || job.completed !== null || job.failed !== null) return false;
  return outcomes?.every(({ kind }) => kind === 'retryable') === true;
}

/** What the next process has to know of the job. */
function toFollowing(
  seen: PollResult,
  { openMs, job, clock }: { readonly openMs: number; readonly job: Job; readonly clock: Clock },
): PollProgress {
  const pauseMs = toPauseMs(seen);
  return {
    openMs,
    wasRead: job.known.wasRead || !seen.retryable || seen.job.status !== 'queued',
    ...(pauseMs !== null && { pause: toRequestedPause(clock, pauseMs) }),
  };
}

/** Writes down what is known where it differs enough from what is written. */
async function save(job: Job, { buffer }: ImportJobPollerDeps): Promise<void> {
  const { known, saved, unfinished } = job;
  const isPaused = known.pause !== undefined || saved.pause !== undefined;
  const enoughMs = Math.max(saveAfter.minMs, saved.openMs * saveAfter.share);
  if (!isPaused && known.openMs - saved.openMs < enoughMs) return;
  const { lane, delivery } = unfinished;
  await buffer.settle({ lane, settled: [], delivery: { ...delivery, following: known } });
  job.saved = known;
}

async function settleImport(
  { lane, delivery, items: items }: UnfinishedImportJob,
  { job, outcomes }: Ended,
  {
    buffer,
    clock,
    limiter,
    policy,
    failureHistory: overAge,
    random,
    recorder,
    uniformRejections: refusals,
  }: ImportJobPollerDeps,
): Promise<void> {
  const { judged } = splitBatch(items, outcomes);
  const judgedAs = judgeItems(judged, {
    policy,
    random: random(),
    now: clock.now(),
    hasFailedEnough: (envelope) => overAge.noteFailure(envelope),
  });
  const { settled, pauseMs } = refusals(lane).filterRejections(judgedAs, 'job');
  if (pauseMs > 0) limiter.pause(lane, pauseMs);
  const ended = toEndedDelivery(delivery, job, settled);
  await buffer.settle({ lane, settled, delivery: ended });
  recorder.recordSettled(lane, settled);
  recorder.recordImportEnd(ended);
}
