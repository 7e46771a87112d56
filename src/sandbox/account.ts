import type { Clock } from '../clock.js';
import { createActivity } from './activity.js';
import type { Activity } from './activity.js';
import { createCounters } from './counters.js';
import type { Counters } from './counters.js';
import { createImportJobs } from './import-jobs.js';
import type { ImportJobs } from './import-jobs.js';
import { createLimits } from './limits.js';
import type { Limits } from './limits.js';
import { createLists } from './lists.js';
import type { Lists } from './lists.js';
import { createProfiles } from './profiles.js';
import type { Profiles } from './profiles.js';
import { createRequestLog } from './request-log.js';
import type { RequestLog } from './request-log.js';

/**
 * The state of one Klaviyo account. All API keys share it and its rate limits. A reset replaces it
 * as a whole.
 */
export type Account = {
  readonly counters: Counters;
  readonly profiles: Profiles;
  readonly activity: Activity;
  readonly importJobs: ImportJobs;
  readonly lists: Lists;
  readonly limits: Limits;
  readonly requests: RequestLog;
};

export type AccountOptions = {
  readonly clock: Clock;
  readonly importDelayMs: number;
  readonly maxEvents: number;
};

export function createAccount({ clock, importDelayMs, maxEvents }: AccountOptions): Account {
  const counters = createCounters();
  const profiles = createProfiles();
  const lists = createLists();
  return {
    counters,
    profiles,
    activity: createActivity({ profiles, counters, maxEvents }),
    importJobs: createImportJobs({ clock, importDelayMs, profiles, lists, counters }),
    lists,
    limits: createLimits(clock),
    requests: createRequestLog(),
  };
}
