import type { Clock } from '../clock.js';
import { createActivity } from './activity.js';
import type { Activity } from './activity.js';
import { createCounters } from './counters.js';
import type { Counters } from './counters.js';
import type { Operation } from './operations.js';
import type { ActivePoison } from './faults.js';
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
import type { Revision } from './revisions.js';

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

/** One authenticated request to one operation, with its parsed body. */
export type Call = {
  readonly account: Account;
  readonly operation: Operation;
  /** The id in the path; empty if the operation has none. */
  readonly id: string;
  /** Absolute, as the client sees it. Links in responses start from it. */
  readonly url: URL;
  /** The revision that responds. It is later than the requested one if that one is retired. */
  readonly revision: Revision;
  /** Epoch ms. */
  readonly now: number;
  readonly json: unknown;
  readonly poisons: readonly ActivePoison[];
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
