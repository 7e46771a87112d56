import type { Clock } from '../clock.js';
import { createActivity } from './activity.js';
import type { Activity } from './activity.js';
import { createCounters } from './counters.js';
import type { Counters } from './counters.js';
import type { Operation } from './operations.js';
import type { ActivePoison } from './faults.js';
import { createImports } from './imports.js';
import type { Imports } from './imports.js';
import { createLimits } from './limits.js';
import type { Limits } from './limits.js';
import { createListBook } from './lists.js';
import type { ListBook } from './lists.js';
import { createProfileBook } from './profiles.js';
import type { ProfileBook } from './profiles.js';
import { createRequestLog } from './request-log.js';
import type { RequestLog } from './request-log.js';
import type { Revision } from './revisions.js';

/** All that one Klaviyo account holds; its keys share the quota. Replaced as a whole on a reset. */
export type Account = {
  readonly counters: Counters;
  readonly profiles: ProfileBook;
  readonly activity: Activity;
  readonly imports: Imports;
  readonly lists: ListBook;
  readonly limits: Limits;
  readonly requests: RequestLog;
};

/** One authenticated request to one operation, its body read. */
export type Call = {
  readonly account: Account;
  readonly operation: Operation;
  /** From the path; empty where the operation has none. */
  readonly id: string;
  /** Absolute, as the sender sees it: links in answers start from it. */
  readonly url: URL;
  /** The one that answers, which is a later one than was asked for where that is retired. */
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
  const profiles = createProfileBook();
  const lists = createListBook();
  return {
    counters,
    profiles,
    activity: createActivity({ profiles, counters, maxEvents }),
    imports: createImports({ clock, importDelayMs, profiles, lists, counters }),
    lists,
    limits: createLimits(clock),
    requests: createRequestLog(),
  };
}
