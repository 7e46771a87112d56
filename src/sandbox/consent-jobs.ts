/**
 * Klaviyo's subscription and unsubscription jobs. They have no representation in the API: a client
 * sees only their effect, which comes when they complete.
 */

import { isTestAddress } from './activity.js';
import { grantConsent, revokeConsent, suppressForList } from './consent.js';
import type { ConsentType } from './consent.js';
import type { Counters } from './counters.js';
import { createJobs } from './jobs.js';
import type { JobOptions, JobProgress, Jobs } from './jobs.js';
import type { Lists } from './lists.js';
import type { Profile, Profiles } from './profiles.js';
import type { JsonObject } from '../json/json.js';

/** One profile of a job, and the consent that changes. */
export type ConsentRequest = {
  /** Klaviyo's own id; null if the request has none. */
  readonly id: string | null;
  /** `email`, `phone_number` and `anonymous_id`, as sent. */
  readonly identifiers: JsonObject;
  readonly changes: readonly {
    readonly type: ConsentType;
    /** Epoch ms of a historical consent; null means the time at which the job completes. */
    readonly consentedAt: number | null;
  }[];
};

export type ConsentWork = {
  readonly requests: readonly ConsentRequest[];
  readonly listId: string | null;
};

export type SubscriptionWork = ConsentWork & {
  /** `custom_source` of the request. */
  readonly source: string | null;
  readonly isHistorical: boolean;
};

export type ConsentJobs = {
  readonly subscribe: Jobs<SubscriptionWork, JobProgress>;
  readonly unsubscribe: Jobs<ConsentWork, JobProgress>;
};

export type ConsentJobOptions = JobOptions & {
  readonly profiles: Profiles;
  readonly lists: Lists;
  readonly counters: Counters;
};

export function createConsentJobs(options: ConsentJobOptions): ConsentJobs {
  const describe = (_work: ConsentWork, progress: JobProgress): JobProgress => progress;
  return {
    subscribe: createJobs<SubscriptionWork, JobProgress>(options, {
      describe,
      complete(work, progress) {
        subscribeProfiles(work, options);
        return progress;
      },
    }),
    unsubscribe: createJobs<ConsentWork, JobProgress>(options, {
      describe,
      complete(work, progress) {
        unsubscribeProfiles(work, options);
        return progress;
      },
    }),
  };
}

/**
 * Without a historical import, the subscribers of a list with double opt-in must confirm first. Until
 * then Klaviyo neither creates the profile nor adds it to the list
 * (community.klaviyo.com/developer-group-64/topic 18229).
 */
function subscribeProfiles(work: SubscriptionWork, options: ConsentJobOptions): void {
  const { clock, lists, counters } = options;
  const { requests, listId, source, isHistorical } = work;
  const at = clock.now();
  const list = listId === null ? null : lists.ensure(listId, at);
  if (list?.optInProcess === 'double_opt_in' && !isHistorical) {
    counters.awaitingOptIn += requests.length;
    return;
  }
  for (const request of requests) {
    const profile = upsertPerson(request, at, options);
    if (profile === null) continue;
    counters.subscribed++;
    for (const { type, consentedAt } of request.changes) {
      const change = { type, consentedAt: consentedAt ?? at, source };
      grantConsent(profile.consent, change, { at, listId });
    }
    if (list !== null) lists.add(list.id, [profile], at);
  }
}

/**
 * A member of the named list leaves it and stays subscribed elsewhere. Everybody else is
 * unsubscribed from the whole account. Only email marketing has consent for single lists, so other
 * channels are always unsubscribed as a whole.
 */
function unsubscribeProfiles({ requests, listId }: ConsentWork, options: ConsentJobOptions): void {
  const { clock, lists, counters } = options;
  const at = clock.now();
  for (const request of requests) {
    const profile = upsertPerson(request, at, options);
    if (profile === null) continue;
    counters.unsubscribed++;
    const isMember = listId !== null && lists.get(listId)?.members.has(profile) === true;
    for (const { type } of request.changes) {
      if (isMember && type === 'email.marketing') {
        suppressForList(profile.consent, listId, at);
        lists.remove(listId, [profile], at);
      } else revokeConsent(profile.consent, type, at);
    }
  }
}

/**
 * Finds or creates the profile of a request. Returns null for a test address, which Klaviyo drops,
 * and for an id that does not exist without any other identifier.
 */
function upsertPerson(
  { id, identifiers }: ConsentRequest,
  at: number,
  { profiles, counters }: ConsentJobOptions,
): Profile | null {
  if (isTestAddress(identifiers.email)) {
    counters.silentlyDropped++;
    counters.droppedTestAddress++;
    return null;
  }
  if (Object.keys(identifiers).length === 0 && profiles.find(id, {}).length === 0) return null;
  const input = { id, attributes: identifiers, patch: undefined };
  return profiles.upsert(input, { at, nullClears: false }).profile;
}
