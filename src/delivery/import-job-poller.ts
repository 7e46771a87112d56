import type { Clock } from '../clock.js';
import type { ImportJob, PollProgress, UnfinishedImportJob } from '../model/delivery.js';
import type {
  DeliveryStore,
  Destination,
  ListedImportJobs,
  PollResult,
} from '../model/destination.js';
import type { Lane } from '../model/lane.js';
import {
  toPollEndpoint,
  type Endpoint,
  type Limiter,
  type Permit,
  type RateFeedback,
} from '../model/limiter.js';
import type { Outcome } from '../model/outcome.js';
import { buildPayloads } from './batcher.js';
import { toEndedDelivery, type Recorder } from './delivery-record.js';
import { judgeItems, splitBatch, type FailureHistory, type RetryPolicy } from './judge.js';
import { toRequestedPause } from './limiter/restore.js';
import { Signal } from './signal.js';
import type { UnchangedProfiles } from './unchanged-profiles.js';
import type { UniformRejections } from './uniform-rejections.js';

/**
 * Polls the jobs that Klaviyo made of accepted requests until each has ended, then judges and settles its
 * envelopes. One loop serves all jobs:
 *
 * - A new job is polled after `firstPollMs`, then ever more rarely: after half the time since this process
 *   added it, and at most after a twentieth of its age (30 s to 10 min).
 * - While several imports of profiles are open, one request for the list of open imports replaces a poll of
 *   each. The list never ends a job: a job that it no longer shows is polled, and so is each due job while
 *   the list is not worth reading (`ListPollPolicy`). Other jobs are always polled one by one.
 * - At most `maxPolls` polls run at once (`PollQueue`).
 * - A pause that Klaviyo requests applies to all polls of the endpoint (`toPollEndpoint`). Age and pause of a
 *   job are saved with its delivery, so that a restart does not lose them.
 * - Klaviyo keeps a job for 7 days. A job that is still open then has expired, and its envelopes are sent
 *   again.
 *
 * Ages are measured by monotonic clocks, so no jump of the wall clock ends a job.
 */
export type OpenImportJobs = {
  readonly count: number;
  /** Never more than the true age; 0 if no job is open. */
  readonly oldestAgeMs: number;
};

export type ImportJobPollerDeps = {
  readonly store: Pick<DeliveryStore, 'settle'>;
  readonly destination: Pick<Destination, 'merge' | 'pollImportJob' | 'listImportJobs'>;
  readonly limiter: Limiter;
  readonly recorder: Recorder;
  readonly policy: RetryPolicy;
  readonly failureHistory: FailureHistory;
  readonly uniformRejections: (lane: Lane) => UniformRejections;
  readonly unchangedProfiles: UnchangedProfiles | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Called for a bug of the relay or a store that fails. */
  readonly onFatal: (error: unknown) => void;
};

const firstPollMs = 500;
/** The share of the time since the job was added after which it is polled again. */
const slowdown = 1 / 2;
/** An old job is polled after this share of its age, within these limits. */
const patience = { share: 1 / 20, minMs: 30_000, maxMs: 600_000 };
/** A job that the list has shown as open for this long is polled as well: the list may come from a cache. */
const maxUnpolledMs = 3_600_000;
/** Klaviyo has said "0 seconds", and a request that comes too early gets another 429. */
const minPauseMs = 1000;
/** Klaviyo keeps an import job for 7 days. */
const maxOpenMs = 7 * 86_400_000;
/** The measured age is saved when it has grown by this much. A restart loses no more. */
const saveAfter = { share: 1 / 10, minMs: 60_000 };
const maxPolls = 4;

type Job = {
  readonly unfinished: UnfinishedImportJob;
  /** Monotonic ms when this process added the job. */
  readonly addedAt: number;
  /** `addedAt` minus the time for which earlier processes measured the job as open. */
  readonly openedAt: number;
  /** The current progress, and the progress that the store has. */
  progress: PollProgress;
  savedProgress: PollProgress;
  /** Monotonic ms of the next poll. */
  dueAt: number;
  /** Monotonic ms of the last poll of the job itself. */
  polledAt: number;
  polls: number;
  /** True if the list showed the job as open when it was last read. */
  isListed: boolean;
  /** True while the job itself is polled, or waits for its turn. */
  isPolled: boolean;
};

export class ImportJobPoller {
  readonly #deps: ImportJobPollerDeps;
  readonly #jobs = new Set<Job>();
  readonly #queue = new PollQueue(maxPolls);
  readonly #list: ListPollPolicy;
  /** Notified when a job was added, and when a poll has ended. */
  readonly #changed = new Signal();
  /** The loop and the polls that run. */
  readonly #running = new Set<Promise<void>>();
  #isLooping = false;
  /** True while the list of imports is read, and after an error, which is fatal. */
  #isSelecting = false;

  constructor(deps: ImportJobPollerDeps) {
    this.#deps = deps;
    this.#list = new ListPollPolicy(deps.clock);
  }

  /** The number of envelopes that wait for an import job. */
  countEnvelopes(): number {
    let count = 0;
    for (const { unfinished } of this.#jobs) count += unfinished.items.flat().length;
    return count;
  }

  /** The open jobs of one lane, or of all lanes if none is given. */
  openJobs(lane?: Lane): OpenImportJobs {
    const now = this.#deps.clock.monotonic();
    let count = 0;
    let oldestAgeMs = 0;
    for (const { openedAt, unfinished } of this.#jobs) {
      if (lane !== undefined && unfinished.lane !== lane) continue;
      count++;
      oldestAgeMs = Math.max(oldestAgeMs, now - openedAt);
    }
    return { count, oldestAgeMs };
  }

  /** Polls the job until it has ended, then settles its envelopes. Returns at once. */
  add(unfinished: UnfinishedImportJob): void {
    const addedAt = this.#deps.clock.monotonic();
    const saved = unfinished.delivery.following ?? { openMs: 0, wasRead: false };
    this.#jobs.add({
      unfinished,
      addedAt,
      openedAt: addedAt - saved.openMs,
      progress: saved,
      savedProgress: saved,
      dueAt: addedAt + firstPollMs,
      polledAt: addedAt,
      polls: 0,
      isListed: false,
      isPolled: false,
    });
    this.#changed.notify();
    if (!this.#isLooping) this.#run(this.#loop());
  }

  /** Resolves when no import job is polled any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #run(work: Promise<void>): void {
    const running = work.catch(this.#deps.onFatal).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #loop(): Promise<void> {
    const { clock, signal } = this.#deps;
    this.#isLooping = true;
    try {
      while (this.#jobs.size > 0 && !signal.aborted) {
        const all = [...this.#jobs];
        const imports = all.filter((job) => isImport(job) && !job.isPolled);
        const others = all.filter((job) => !isImport(job) && !job.isPolled);
        // The polls that followed the last list still run: to read the list again would only delay them.
        const isBusy =
          this.#isSelecting ||
          (all.filter((job) => isImport(job) && job.isPolled).length >= maxPolls &&
            this.#list.isWorthReading(imports.length, clock.monotonic()));
        const importsAt = isBusy
          ? Infinity
          : this.#list.nextPollAt(findFirstDue(imports), imports.length);
        const now = clock.monotonic();
        const delayMs = Math.min(importsAt, findFirstDue(others)) - now;
        if (delayMs > 0) {
          await this.#changed.wait(clock, delayMs === Infinity ? null : delayMs, signal);
        } else {
          this.#startPolls(others.filter(({ dueAt }) => dueAt <= now));
          if (importsAt <= now) this.#run(this.#pollImports(imports));
        }
      }
    } finally {
      this.#isLooping = false;
      if (signal.aborted) this.#jobs.clear();
    }
  }

  /** Not within the loop: while the polls of imports are paused, other jobs are polled. */
  async #pollImports(imports: readonly Job[]): Promise<void> {
    this.#isSelecting = true;
    this.#startPolls(await this.#selectJobsToPoll(imports));
    this.#isSelecting = false;
    this.#changed.notify();
  }

  #startPolls(jobs: readonly Job[]): void {
    for (const job of jobs) {
      job.isPolled = true;
      this.#run(this.#pollJob(job));
    }
  }

  /** Reads the list if it is worth it, notes the jobs that it shows, and returns the jobs to poll. */
  async #selectJobsToPoll(waiting: readonly Job[]): Promise<readonly Job[]> {
    const { clock, destination } = this.#deps;
    const now = clock.monotonic();
    const due = new Set(waiting.filter(({ dueAt }) => dueAt <= now));
    if (!this.#list.isWorthReading(waiting.length, now)) return [...due];
    const refs = new Set(waiting.map(({ unfinished }) => unfinished.ref));
    const listed = await withPermits(this.#deps, 'imports', (permit) =>
      destination.listImportJobs(refs, permit),
    );
    // The relay stops.
    if (listed === null) return [];
    this.#list.noteList(listed);
    const open = new Map(listed.open.map((job) => [job.id, job]));
    const selected = waiting.filter((job) => {
      const wasListed = job.isListed;
      job.isListed = open.has(job.unfinished.ref);
      if (job.isListed) return now - job.polledAt >= maxUnpolledMs;
      return due.has(job) || (wasListed && listed.end === 'complete');
    });
    await Promise.all(
      waiting.map(async (job) => {
        const state = open.get(job.unfinished.ref);
        if (state !== undefined) await this.#noteResult(job, toOpenResult(state));
      }),
    );
    await this.#savePause(listed, waiting);
    return selected.filter((job) => this.#jobs.has(job));
  }

  /** Saves a pause that Klaviyo requested. One import carries it over a restart; it applies to all. */
  async #savePause(listed: ListedImportJobs, imports: readonly Job[]): Promise<void> {
    const pauseMs = toPauseMs(listed);
    const job = imports.find((each) => this.#jobs.has(each));
    if (pauseMs === null || job === undefined) return;
    job.progress = { ...job.progress, pause: toRequestedPause(this.#deps.clock, pauseMs) };
    await this.#saveProgress(job);
  }

  async #pollJob(job: Job): Promise<void> {
    const { destination, clock } = this.#deps;
    const { lane, ref, items } = job.unfinished;
    const imported = { count: items.length, payloads: () => buildPayloads(items, destination) };
    try {
      await this.#queue.acquire(job.polls++);
      const result = await withPermits(this.#deps, toPollEndpoint(lane), (permit) =>
        destination.pollImportJob({ lane, ref }, imported, permit),
      ).finally(() => this.#queue.release());
      job.polledAt = clock.monotonic();
      if (result === null) return;
      await this.#noteResult(
        job,
        this.#isAboutOtherJob(job, result) ? toFailedPoll(result) : result,
      );
    } catch (error) {
      this.#jobs.delete(job);
      throw error;
    } finally {
      job.isPolled = false;
      this.#changed.notify();
    }
  }

  /** Returns true if a proxy confused the responses to two polls. */
  #isAboutOtherJob(job: Job, { reportedId }: PollResult): boolean {
    return (
      reportedId !== job.unfinished.ref &&
      [...this.#jobs].some(({ unfinished }) => unfinished.ref === reportedId)
    );
  }

  /** Settles a job that has ended. Otherwise decides when the job is polled next. */
  async #noteResult(job: Job, result: PollResult): Promise<void> {
    const { clock } = this.#deps;
    const now = clock.monotonic();
    const openMs = now - job.openedAt;
    const ended = findEnd(result, { openMs, job });
    if (ended !== null) {
      await this.#settle(job.unfinished, ended);
      this.#jobs.delete(job);
      return;
    }
    const pauseMs = toPauseMs(result);
    job.progress = {
      openMs,
      wasRead: job.progress.wasRead || !result.retryable || result.job.status !== 'queued',
      ...(pauseMs !== null && { pause: toRequestedPause(clock, pauseMs) }),
    };
    job.dueAt = now + toPollDelayMs(openMs, now - job.addedAt);
    await this.#saveProgress(job);
  }

  /** Saves the progress of a job if it differs enough from what the store has. */
  async #saveProgress(job: Job): Promise<void> {
    const { progress, savedProgress, unfinished } = job;
    const isPaused = progress.pause !== undefined || savedProgress.pause !== undefined;
    const minGrowthMs = Math.max(saveAfter.minMs, savedProgress.openMs * saveAfter.share);
    if (!isPaused && progress.openMs - savedProgress.openMs < minGrowthMs) return;
    const { lane, delivery } = unfinished;
    await this.#deps.store.settle({
      lane,
      settled: [],
      delivery: { ...delivery, following: progress },
    });
    job.savedProgress = progress;
  }

  async #settle(
    { lane, delivery, items }: UnfinishedImportJob,
    { job, outcomes }: EndedJob,
  ): Promise<void> {
    const { store, clock, limiter, policy, failureHistory, recorder } = this.#deps;
    const context = { policy, random: this.#deps.random(), now: clock.now(), failureHistory };
    const verdicts = judgeItems(splitBatch(items, outcomes).judged, context);
    const uniformRejections = this.#deps.uniformRejections(lane);
    const { settled, pauseMs } = uniformRejections.filterRejections(verdicts, 'job');
    if (pauseMs > 0) limiter.pause(lane, pauseMs);
    const ended = toEndedDelivery(delivery, job, settled);
    this.#deps.unchangedProfiles?.noteVerdicts(items, settled, job.status === 'complete');
    await store.settle({ lane, settled, delivery: ended });
    recorder.recordSettled(lane, settled);
    recorder.recordImportEnd(ended);
  }
}

/** True for a job that is in Klaviyo's list of imports. */
const isImport = ({ unfinished }: Job): boolean => toPollEndpoint(unfinished.lane) === 'imports';

const findFirstDue = (jobs: readonly Job[]): number =>
  jobs.reduce((at, { dueAt }) => Math.min(at, dueAt), Infinity);

/** Pure: how long an open job is not polled. */
function toPollDelayMs(openMs: number, sinceAddedMs: number): number {
  const { share, minMs, maxMs } = patience;
  const longestMs = Math.min(maxMs, Math.max(minMs, openMs * share));
  return Math.min(longestMs, firstPollMs + sinceAddedMs * slowdown);
}

/** The result that a poll of a job would have had which the list shows as open. */
const toOpenResult = (job: ImportJob): PollResult => {
  return { job, outcomes: null, retryable: false, feedback: null };
};

/** A poll without a usable result, which is repeated. */
const toFailedPoll = (result: PollResult): PollResult => {
  const job: ImportJob = { ...result.job, status: 'queued', completed: null, failed: null };
  return { ...result, job, outcomes: null, retryable: true };
};

function toPauseMs({ feedback }: { readonly feedback: RateFeedback | null }): number | null {
  const retryAfterMs = feedback?.retryAfterMs ?? null;
  return retryAfterMs === null ? null : Math.max(minPauseMs, retryAfterMs);
}

/**
 * Runs `poll` with a permit for each of its requests, and makes the pause that Klaviyo requests. Returns
 * null if the relay stops meanwhile.
 */
async function withPermits<T extends { readonly feedback: RateFeedback | null }>(
  { limiter, signal }: Pick<ImportJobPollerDeps, 'limiter' | 'signal'>,
  endpoint: Endpoint,
  poll: (permit: () => Promise<void>) => Promise<T>,
): Promise<T | null> {
  if (signal.aborted) return null;
  const open: Permit[] = [];
  const stopped = new Error('stopped');
  try {
    const result = await poll(async () => {
      open.pop()?.end(null);
      const permit = await limiter.acquire(endpoint, signal);
      if (permit === null) throw stopped;
      open.push(permit);
    });
    open.pop()?.end(result.feedback);
    const pauseMs = toPauseMs(result);
    if (pauseMs !== null) limiter.pause(endpoint, pauseMs);
    return result;
  } catch (error) {
    if (error === stopped) return null;
    throw error;
  } finally {
    open.pop()?.end(null);
  }
}

type EndedJob = { readonly job: ImportJob; readonly outcomes: readonly Outcome[] };

/** Pure: how the job ended; null while it may still end. */
function findEnd(
  result: PollResult,
  { openMs, job }: { readonly openMs: number; readonly job: Job },
): EndedJob | null {
  const { job: state, outcomes } = result;
  const isDeleted = job.progress.wasRead && isGone(result);
  if (outcomes !== null && !isDeleted) return { job: state, outcomes };
  if (!isDeleted && openMs < maxOpenMs) return null;
  // The result is unknown. An import is an upsert, and a suppression is a state: both can be sent again.
  const detail = 'the job did not end while Klaviyo kept it';
  const reason = { code: 'import_expired', detail };
  return {
    job: { ...state, status: 'expired' },
    outcomes: job.unfinished.items.map(() => ({ kind: 'retryable', reason })),
  };
}

/** Returns true if Klaviyo does not have the job. A job that the key may not read has other outcomes. */
function isGone({ job, outcomes }: PollResult): boolean {
  if (job.status !== 'unreadable' || job.completed !== null || job.failed !== null) return false;
  return outcomes?.every(({ kind }) => kind === 'retryable') === true;
}

/**
 * Lets so many polls run at once. The waiting job with the fewest polls is next, so that old jobs do not
 * delay those that end soon.
 */
class PollQueue {
  readonly #waiting: { readonly polls: number; readonly admit: () => void }[] = [];
  #free: number;

  constructor(most: number) {
    this.#free = most;
  }

  /** Resolves when the poll may begin. `release` ends it. */
  acquire(polls: number): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    return new Promise((admit) => {
      const behind = this.#waiting.findIndex((other) => other.polls > polls);
      const at = behind === -1 ? this.#waiting.length : behind;
      this.#waiting.splice(at, 0, { polls, admit });
    });
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next.admit();
  }
}

/** The list is read again after this time for each request that it took, however many jobs are added. */
const listGapMs = 1000;
/** How long jobs are polled one by one after a list that was not worth reading. Doubles each time. */
const listRestMs = { first: 30_000, longest: 600_000 };

/** Decides when to read the list of open import jobs instead of polling each job. */
class ListPollPolicy {
  readonly #clock: Clock;
  /** Monotonic ms. */
  #nextAt = 0;
  #restUntil = 0;
  #restMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A single job is polled itself, because that also shows how it ended. */
  isWorthReading(jobs: number, at: number): boolean {
    return jobs > 1 && at >= this.#restUntil;
  }

  /** When the jobs are polled of which the first is due at `dueAt`. The list has a minimum gap. */
  nextPollAt(dueAt: number, jobs: number): number {
    return this.isWorthReading(jobs, dueAt) ? Math.max(dueAt, this.#nextAt) : dueAt;
  }

  /** After a response that was no list, or a list that took more requests than it replaced, jobs are polled one by one for a while. */
  noteList({ open, end, requests }: ListedImportJobs): void {
    const now = this.#clock.monotonic();
    this.#nextAt = now + requests * listGapMs;
    if (end === 'complete' || (end === 'partial' && open.length > requests)) {
      this.#restMs = 0;
      return;
    }
    this.#restMs = Math.min(listRestMs.longest, Math.max(listRestMs.first, 2 * this.#restMs));
    this.#restUntil = now + this.#restMs;
  }
}
