/**
 * Klaviyo's suppression jobs (`profile-suppression-bulk-create-job` and `-delete-job`). They set and
 * lift the suppression `USER_SUPPRESSED` of email addresses, whatever their consent is.
 */

import { isTestAddress } from './activity.js';
import { addSuppression, removeSuppression } from './consent.js';
import type { Counters } from './counters.js';
import { createJobs } from './jobs.js';
import type { JobOptions, JobProgress, Jobs } from './jobs.js';
import type { Lists } from './lists.js';
import { readString } from './json.js';
import type { Profiles } from './profiles.js';

/** Either addresses, or a list whose members at completion are meant. */
export type SuppressionWork = {
  readonly emails: readonly string[];
  readonly listId: string | null;
};

export type SuppressionJob = JobProgress & {
  readonly total: number;
  readonly completed: number;
  /** Addresses that were suppressed, or not suppressed, already. */
  readonly skipped: number;
  readonly listId: string | null;
};

export type SuppressionJobs = {
  readonly suppress: Jobs<SuppressionWork, SuppressionJob>;
  readonly unsuppress: Jobs<SuppressionWork, SuppressionJob>;
};

export type SuppressionJobOptions = JobOptions & {
  readonly profiles: Profiles;
  readonly lists: Lists;
  readonly counters: Counters;
};

export function createSuppressionJobs(options: SuppressionJobOptions): SuppressionJobs {
  const { clock, profiles, lists, counters } = options;

  const listEmails = ({ emails, listId }: SuppressionWork): readonly string[] => {
    if (listId === null) return emails;
    const members = [...(lists.get(listId)?.members.keys() ?? [])];
    return members.flatMap(({ attributes }) => readString(attributes.email) ?? []);
  };

  const describe = (work: SuppressionWork, progress: JobProgress): SuppressionJob => ({
    ...progress,
    total: listEmails(work).length,
    completed: 0,
    skipped: 0,
    listId: work.listId,
  });

  /** `change` returns false if the address is skipped. */
  const createKind = (change: (email: string, at: number) => boolean) =>
    createJobs<SuppressionWork, SuppressionJob>(options, {
      describe,
      complete(work, progress) {
        const emails = listEmails(work);
        const changed = emails.filter((email) => change(email, clock.now())).length;
        return {
          ...describe(work, progress),
          total: emails.length,
          completed: changed,
          skipped: emails.length - changed,
        };
      },
    });

  return {
    /** Creates the profile of an unknown address, so that the suppression holds when it is imported. */
    suppress: createKind((email, at) => {
      if (isTestAddress(email)) return false;
      const input = { id: null, attributes: { email }, patch: undefined };
      const { profile } = profiles.upsert(input, { at, nullClears: false });
      if (!addSuppression(profile.consent, { reason: 'USER_SUPPRESSED', at })) return false;
      counters.suppressed++;
      return true;
    }),
    unsuppress: createKind((email) => {
      const [profile] = profiles.find(null, { email });
      if (profile === undefined) return false;
      if (!removeSuppression(profile.consent, 'USER_SUPPRESSED')) return false;
      counters.unsuppressed++;
      return true;
    }),
  };
}
