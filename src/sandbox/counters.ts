/** Outcomes of the events and profiles to which the sandbox responded with success. */
export type Counters = {
  /** Events recorded in the activity feed, including those that the feed no longer holds. */
  recorded: number;
  /** Events sent again with a recorded `unique_id`. Nothing is lost. */
  repeats: number;
  /** Events with `backfill: true`, which trigger no flow. */
  backfilled: number;
  /** Events that repeat a `unique_id` within one request, for the same profile and metric. */
  repeatsInRequest: number;
  /** Events and profiles dropped after a success response, for the two reasons below. */
  silentlyDropped: number;
  /** Events without `unique_id` whose profile, metric and second were already recorded. */
  droppedSameSecond: number;
  /** Events and profiles with an address at example.com or test.com. */
  droppedTestAddress: number;
  /** Profiles written by profile-import and import jobs. */
  imported: number;
  /** Profiles that failed in an import job. */
  importFailed: number;
  /**
   * Profiles that share an identity within one import job. Klaviyo may drop all but one; the
   * sandbox does.
   */
  importDuplicates: number;
  /**
   * Profiles whose identity is also in another unfinished import job. Klaviyo does not guarantee
   * their order.
   */
  importOverlaps: number;
  /** Profiles of completed subscription jobs whose consent was granted. */
  subscribed: number;
  /** Profiles of subscription jobs that wait for a double opt-in, which never comes. */
  awaitingOptIn: number;
  /** Profiles of completed unsubscription jobs. */
  unsubscribed: number;
  suppressed: number;
  unsuppressed: number;
  /** Profiles removed by data privacy deletion jobs. */
  deleted: number;
};

/** All counters at zero. Every part that counts shares this object. */
export function createCounters(): Counters {
  return {
    recorded: 0,
    repeats: 0,
    backfilled: 0,
    repeatsInRequest: 0,
    silentlyDropped: 0,
    droppedSameSecond: 0,
    droppedTestAddress: 0,
    imported: 0,
    importFailed: 0,
    importDuplicates: 0,
    importOverlaps: 0,
    subscribed: 0,
    awaitingOptIn: 0,
    unsubscribed: 0,
    suppressed: 0,
    unsuppressed: 0,
    deleted: 0,
  };
}
