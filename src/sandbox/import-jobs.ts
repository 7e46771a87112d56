/**
 * Klaviyo's bulk profile import jobs (`profile-bulk-import-job` in its OpenAPI). A job is queued
 * for a third of `importDelayMs`, then processing, then complete. Its profiles are written when it
 * completes, so two open jobs with the same profile have no guaranteed order.
 */

import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../clock.js';
import type { JsonObject } from '../json/json.js';
import { isTestAddress } from './activity.js';
import { toIdentifierKeys } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import type { Counters } from './counters.js';
import type { Lists } from './lists.js';
import type { Profile, Profiles } from './profiles.js';

/** Why one profile of a job failed. `pointer` is relative to that profile. */
export type ImportFailure = { readonly detail: string; readonly pointer: string };

/** One profile of a job. A poison rule sets `failure`. */
export type ImportEntry = {
  readonly profile: ProfileInput;
  readonly failure: ImportFailure | null;
};

/** One entry of `import-errors`. It has no index, only the attributes as sent. */
export type ImportError = ImportFailure & {
  readonly id: string;
  readonly originalPayload: JsonObject;
};

/**
 * A job at the moment of the request. There is no status `failed`; the member `failed` counts
 * profiles.
 */
export type ImportJob = {
  readonly id: string;
  readonly status: 'queued' | 'processing' | 'complete';
  /** All times here are epoch ms. */
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly completedAt: number | null;
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly lists: readonly string[];
  readonly errors: readonly ImportError[];
  readonly profiles: readonly Profile[];
};

/** Klaviyo has a further status, `cancelled`, which never occurs here. */
export type ImportJobs = {
  create(entries: readonly ImportEntry[], lists: readonly string[]): ImportJob;
  get(id: string): ImportJob | undefined;
  /** Newest first. */
  all(): readonly ImportJob[];
  close(): void;
};

export type ImportJobOptions = {
  readonly clock: Clock;
  readonly importDelayMs: number;
  readonly profiles: Profiles;
  readonly lists: Lists;
  readonly counters: Counters;
};

/** Klaviyo keeps finished jobs for seven days. The sandbox keeps this many. */
const maxFinished = 10_000;

/** Payloads are kept while a job is open and released when it completes. */
type OpenJob = {
  readonly id: string;
  readonly createdAt: number;
  readonly startsAt: number;
  readonly entries: readonly ImportEntry[];
  readonly lists: readonly string[];
  readonly timer: Timer;
};

export function createImportJobs(options: ImportJobOptions): ImportJobs {
  const { clock, importDelayMs, counters } = options;
  const open = new Map<string, OpenJob>();
  const finished = new Map<string, ImportJob>();
  const unfinishedIdentities = new Map<string, number>();

  const trackIdentities = (entries: readonly ImportEntry[], change: 1 | -1): void => {
    for (const { profile } of entries) {
      for (const identifier of toIdentifierKeys(profile.id, profile.attributes)) {
        const held = (unfinishedIdentities.get(identifier) ?? 0) + change;
        if (held === 0) unfinishedIdentities.delete(identifier);
        else unfinishedIdentities.set(identifier, held);
      }
    }
  };

  const countOverlaps = (entries: readonly ImportEntry[]): void => {
    for (const { profile } of entries) {
      const identifiers = toIdentifierKeys(profile.id, profile.attributes);
      if (identifiers.some((one) => unfinishedIdentities.has(one))) counters.importOverlaps++;
    }
  };

  const finishJob = (id: string): void => {
    const job = open.get(id);
    if (job === undefined) return;
    open.delete(id);
    trackIdentities(job.entries, -1);
    finished.set(id, runJob(job, options));
    const [oldest] = finished.keys();
    if (finished.size > maxFinished && oldest !== undefined) finished.delete(oldest);
  };

  const get = (id: string): ImportJob | undefined => {
    const job = open.get(id);
    return job === undefined ? finished.get(id) : toOpenJob(job, clock.now());
  };

  return {
    create(entries, lists) {
      const id = randomUUID();
      countOverlaps(entries);
      trackIdentities(entries, 1);
      const createdAt = clock.now();
      for (const list of lists) options.lists.ensure(list, createdAt);
      const startsAt = createdAt + importDelayMs / 3;
      const timer = clock.setTimer(importDelayMs, () => finishJob(id));
      const job = { id, createdAt, startsAt, entries, lists, timer };
      open.set(id, job);
      return toOpenJob(job, createdAt);
    },
    get,
    all: () => [
      ...[...open.values()].reverse().map((job) => toOpenJob(job, clock.now())),
      ...[...finished.values()].reverse(),
    ],
    close() {
      for (const { timer } of open.values()) timer.cancel();
    },
  };
}

function toOpenJob(job: OpenJob, now: number): ImportJob {
  const started = now >= job.startsAt && now > job.createdAt;
  return {
    id: job.id,
    status: started ? 'processing' : 'queued',
    createdAt: job.createdAt,
    startedAt: started ? job.startsAt : null,
    completedAt: null,
    total: job.entries.length,
    completed: 0,
    failed: 0,
    lists: job.lists,
    errors: [],
    profiles: [],
  };
}

/** Writes the profiles of the job to the account. */
function runJob(job: OpenJob, { clock, profiles, lists, counters }: ImportJobOptions): ImportJob {
  const at = clock.now();
  const seen = new Set<string>();
  const written: Profile[] = [];
  const errors: ImportError[] = [];
  for (const { profile, failure } of job.entries) {
    if (failure !== null) {
      errors.push({ id: randomUUID(), ...failure, originalPayload: profile.attributes });
      counters.importFailed++;
      continue;
    }
    const identity = profiles.listIdentityKeys(profile);
    const repeated = identity.some((one) => seen.has(one));
    for (const one of identity) seen.add(one);
    if (repeated) counters.importDuplicates++;
    else if (isTestAddress(profile.attributes.email)) {
      counters.silentlyDropped++;
      counters.droppedTestAddress++;
    } else {
      counters.imported++;
      written.push(profiles.upsert(profile, { at, nullClears: false }).profile);
    }
  }
  for (const list of job.lists) lists.add(list, written, at);
  return {
    ...toOpenJob(job, at),
    status: 'complete',
    startedAt: job.startsAt,
    completedAt: at,
    completed: job.entries.length - errors.length,
    failed: errors.length,
    errors,
    profiles: written,
  };
}
