/**
 * Klaviyo's asynchronous jobs. A job is queued for a third of `delayMs`, then processing, then
 * complete. Its work is done at the moment it completes, so jobs that are open at the same time are
 * done in the order in which they were created.
 */

import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../clock.js';

/** Klaviyo has a further status, `cancelled`, which never occurs here. */
export const jobStatuses = ['queued', 'processing', 'complete'] as const;
export type JobStatus = (typeof jobStatuses)[number];

/** What all jobs have in common, at the moment of the request. */
export type JobProgress = {
  readonly id: string;
  readonly status: JobStatus;
  /** All times here are epoch ms. */
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly completedAt: number | null;
};

/** What the jobs of one kind do. */
export type JobKind<Work, Job> = {
  /** Returns the job while it is open. */
  readonly describe: (work: Work, progress: JobProgress) => Job;
  /** Does the work and returns the job as it stays. The work itself is then released. */
  readonly complete: (work: Work, progress: JobProgress) => Job;
};

/** The jobs of one kind. */
export type Jobs<Work, Job> = {
  readonly start: (work: Work) => Job;
  readonly get: (id: string) => Job | undefined;
  /** Newest first. */
  readonly all: () => readonly Job[];
  readonly openCount: () => number;
  /** Cancels the open jobs. */
  readonly close: () => void;
};

export type JobOptions = { readonly clock: Clock; readonly delayMs: number };

/** Klaviyo keeps finished jobs for seven days. The sandbox keeps this many of each kind. */
const maxFinished = 10_000;

type OpenJob<Work> = {
  readonly id: string;
  readonly createdAt: number;
  readonly startsAt: number;
  readonly work: Work;
  readonly timer: Timer;
};

export function createJobs<Work, Job>(
  { clock, delayMs }: JobOptions,
  { describe, complete }: JobKind<Work, Job>,
): Jobs<Work, Job> {
  const open = new Map<string, OpenJob<Work>>();
  const finished = new Map<string, Job>();

  const finish = (id: string): void => {
    const job = open.get(id);
    if (job === undefined) return;
    open.delete(id);
    const { createdAt, startsAt: startedAt } = job;
    const progress = { id, createdAt, startedAt, completedAt: clock.now() };
    finished.set(id, complete(job.work, { ...progress, status: 'complete' }));
    const [oldest] = finished.keys();
    if (finished.size > maxFinished && oldest !== undefined) finished.delete(oldest);
  };

  const describeOpen = (job: OpenJob<Work>): Job =>
    describe(job.work, toOpenProgress(job, clock.now()));

  return {
    start(work) {
      const createdAt = clock.now();
      const job = {
        id: randomUUID(),
        createdAt,
        startsAt: createdAt + delayMs / 3,
        work,
        timer: clock.setTimer(delayMs, () => finish(job.id)),
      };
      open.set(job.id, job);
      return describeOpen(job);
    },
    get(id) {
      const job = open.get(id);
      return job === undefined ? finished.get(id) : describeOpen(job);
    },
    all: () => [
      ...[...open.values()].reverse().map(describeOpen),
      ...[...finished.values()].reverse(),
    ],
    openCount: () => open.size,
    close() {
      for (const { timer } of open.values()) timer.cancel();
    },
  };
}

function toOpenProgress<Work>(job: OpenJob<Work>, now: number): JobProgress {
  const isStarted = now >= job.startsAt && now > job.createdAt;
  return {
    id: job.id,
    status: isStarted ? 'processing' : 'queued',
    createdAt: job.createdAt,
    startedAt: isStarted ? job.startsAt : null,
    completedAt: null,
  };
}
