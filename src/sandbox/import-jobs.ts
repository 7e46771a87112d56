/**
 * Klaviyo's bulk profile import jobs (`profile-bulk-import-job` in its OpenAPI). Klaviyo guarantees
 * no order for two open jobs with the same profile, so the sandbox counts such profiles.
 */

import { randomUUID } from 'node:crypto';
import type { JsonObject } from '../json/json.js';
import { isTestAddress } from './activity.js';
import { toIdentifierKeys } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import type { Counters } from './counters.js';
import { createJobs } from './jobs.js';
import type { JobOptions, JobProgress } from './jobs.js';
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
export type ImportJob = JobProgress & {
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly lists: readonly string[];
  readonly errors: readonly ImportError[];
  readonly profiles: readonly Profile[];
};

export type ImportJobs = {
  create(entries: readonly ImportEntry[], lists: readonly string[]): ImportJob;
  get(id: string): ImportJob | undefined;
  /** Newest first. */
  all(): readonly ImportJob[];
  close(): void;
};

export type ImportJobOptions = JobOptions & {
  readonly profiles: Profiles;
  readonly lists: Lists;
  readonly counters: Counters;
};

/** The content of one job. */
type Import = { readonly entries: readonly ImportEntry[]; readonly lists: readonly string[] };

export function createImportJobs(options: ImportJobOptions): ImportJobs {
  const { clock, counters } = options;
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

  const jobs = createJobs<Import, ImportJob>(options, {
    describe: toOpenImportJob,
    complete(work, progress) {
      trackIdentities(work.entries, -1);
      return completeImport(work, progress, options);
    },
  });

  return {
    create(entries, lists) {
      countOverlaps(entries);
      trackIdentities(entries, 1);
      for (const list of lists) options.lists.ensure(list, clock.now());
      return jobs.start({ entries, lists });
    },
    get: jobs.get,
    all: jobs.all,
    close: jobs.close,
  };
}

function toOpenImportJob({ entries, lists }: Import, progress: JobProgress): ImportJob {
  const total = entries.length;
  return { ...progress, total, completed: 0, failed: 0, lists, errors: [], profiles: [] };
}

/** Writes the profiles of the job to the account. */
function completeImport(
  work: Import,
  progress: JobProgress,
  { clock, profiles, lists, counters }: ImportJobOptions,
): ImportJob {
  const at = clock.now();
  const seen = new Set<string>();
  const written: Profile[] = [];
  const errors: ImportError[] = [];
  for (const { profile, failure } of work.entries) {
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
  for (const list of work.lists) lists.add(list, written, at);
  return {
    ...toOpenImportJob(work, progress),
    completed: work.entries.length - errors.length,
    failed: errors.length,
    errors,
    profiles: written,
  };
}
