/**
 * Klaviyo's asynchronous operations on whole profiles: data privacy deletion and merge. A client
 * sees only their effect, which comes after a moment.
 */

import type { JsonObject } from '../json/json.js';
import type { Activity } from './activity.js';
import type { Counters } from './counters.js';
import { createJobs } from './jobs.js';
import type { JobOptions, JobProgress, Jobs } from './jobs.js';
import type { Lists } from './lists.js';
import type { Profiles } from './profiles.js';

/** Exactly one identifier of the person: an id, or an attribute. */
export type DeletionWork = { readonly id: string | null; readonly attributes: JsonObject };

/** A deletion without the identifier, which is personal data. */
export type DeletionJob = JobProgress & { readonly deleted: number };

export type MergeWork = { readonly sourceId: string; readonly destinationId: string };

export type ProfileJobs = {
  readonly deletions: Jobs<DeletionWork, DeletionJob>;
  readonly merges: Jobs<MergeWork, JobProgress>;
};

export type ProfileJobOptions = JobOptions & {
  readonly profiles: Profiles;
  readonly lists: Lists;
  readonly activity: Activity;
  readonly counters: Counters;
};

export function createProfileJobs(options: ProfileJobOptions): ProfileJobs {
  const { clock, profiles } = options;
  return {
    deletions: createJobs<DeletionWork, DeletionJob>(options, {
      describe: (_work, progress) => ({ ...progress, deleted: 0 }),
      complete: (work, progress) => ({ ...progress, deleted: deleteProfiles(work, options) }),
    }),
    merges: createJobs<MergeWork, JobProgress>(options, {
      describe: (_work, progress) => progress,
      complete({ sourceId, destinationId }, progress) {
        const [source] = profiles.find(sourceId, {});
        const [destination] = profiles.find(destinationId, {});
        if (source !== undefined && destination !== undefined && source !== destination) {
          profiles.merge(destination, source, clock.now());
        }
        return progress;
      },
    }),
  };
}

/** Deletes the matching profiles with their events and memberships, and returns their number. */
function deleteProfiles(
  { id, attributes }: DeletionWork,
  { profiles, lists, activity, counters }: ProfileJobOptions,
): number {
  const found = profiles.find(id, attributes);
  for (const profile of found) {
    profiles.delete(profile);
    lists.forget(profile);
    activity.forget(profile);
    counters.deleted++;
  }
  return found.length;
}
