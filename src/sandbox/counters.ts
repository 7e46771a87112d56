/** What became of everything the sandbox answered with success. */
export type Counters = {
  /** Events in the activity feed, those it no longer keeps included. */
  recorded: number;
  /** Events sent again with a unique_id that was known: harmless. */
  repeats: number;
  /** Events that said `backfill`: recorded, and no flow would be triggered. */
  backfilled: number;
  /** Events whose unique_id was in the same request before, for the same profile and metric. */
  repeatsInRequest: number;
  /** Answered with success and then lost, for the two reasons below. */
  silentlyDropped: number;
  /** Events without unique_id: profile, metric and second were taken. */
  droppedSameSecond: number;
  /** Events and profiles with an address at example.com or test.com. */
  droppedTestAddress: number;
  /** Profiles written by profile-import and by import jobs. */
  imported: number;
  /** Profiles an import job ended with an error for. */
  importFailed: number;
  /** Profiles of one identity within one import job: Klaviyo may drop all but one, and the sandbox does. */
  importDuplicates: number;
  /** Profiles whose identity was in another unfinished import job: their order is not guaranteed. */
  importOverlaps: number;
};

/** All at zero. The parts that count share it. */
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
  };
}
