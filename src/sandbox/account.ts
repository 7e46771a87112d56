import { createActivity } from './activity.js';
import type { Activity } from './activity.js';
import { createCatalog } from './catalog.js';
import type { Catalog } from './catalog.js';
import { createConsentJobs } from './consent-jobs.js';
import type { ConsentJobs } from './consent-jobs.js';
import { createCounters } from './counters.js';
import type { Counters } from './counters.js';
import { createImportJobs } from './import-jobs.js';
import type { ImportJobs } from './import-jobs.js';
import type { JobOptions } from './jobs.js';
import { createLimits } from './limits.js';
import type { Limits } from './limits.js';
import { createLists } from './lists.js';
import type { Lists } from './lists.js';
import { createProfileJobs } from './profile-jobs.js';
import type { ProfileJobs } from './profile-jobs.js';
import { createProfiles } from './profiles.js';
import type { Profiles } from './profiles.js';
import { createRequestLog } from './request-log.js';
import type { RequestLog } from './request-log.js';
import { createSuppressionJobs } from './suppression-jobs.js';
import type { SuppressionJobs } from './suppression-jobs.js';

/**
 * The state of one Klaviyo account. All API keys share it and its rate limits. A reset replaces it
 * as a whole.
 */
export type Account = {
  readonly counters: Counters;
  readonly profiles: Profiles;
  readonly activity: Activity;
  readonly importJobs: ImportJobs;
  readonly consentJobs: ConsentJobs;
  readonly suppressionJobs: SuppressionJobs;
  readonly profileJobs: ProfileJobs;
  readonly catalog: Catalog;
  readonly lists: Lists;
  readonly limits: Limits;
  readonly requests: RequestLog;
  /** Cancels all open jobs. */
  close(): void;
};

/** `delayMs`: between the acceptance of a job and its completion. */
export type AccountOptions = JobOptions & {
  readonly maxEvents: number;
  /** The ids of the lists with double opt-in. */
  readonly doubleOptInLists: readonly string[];
};

export function createAccount(options: AccountOptions): Account {
  const { clock, delayMs, maxEvents, doubleOptInLists } = options;
  const counters = createCounters();
  const lists = createLists(new Set(doubleOptInLists));
  const profiles = createProfiles(lists.moveMember);
  const activity = createActivity({ profiles, counters, maxEvents });
  const jobOptions = { clock, delayMs, profiles, lists, counters };
  const importJobs = createImportJobs(jobOptions);
  const consentJobs = createConsentJobs(jobOptions);
  const suppressionJobs = createSuppressionJobs(jobOptions);
  const profileJobs = createProfileJobs({ ...jobOptions, activity });
  const catalog = createCatalog({ clock, delayMs });
  return {
    counters,
    profiles,
    activity,
    importJobs,
    consentJobs,
    suppressionJobs,
    profileJobs,
    catalog,
    lists,
    limits: createLimits(clock),
    requests: createRequestLog(),
    close() {
      importJobs.close();
      consentJobs.subscribe.close();
      consentJobs.unsubscribe.close();
      suppressionJobs.suppress.close();
      suppressionJobs.unsuppress.close();
      profileJobs.deletions.close();
      profileJobs.merges.close();
      catalog.close();
    },
  };
}
