/**
 * Klaviyo's revisions, and how they differ at the routes that the sandbox imitates.
 * Sources: Klaviyo's OpenAPI files (github.com/klaviyo/openapi has a branch for each revision) for
 * properties, times, `anonymous_id`, `backfill` and `patch_identifiers`; for the rest, the models
 * of its Node client, which has one release for each revision since 2024-10-15 (12.0.1 to 23.0.0).
 * There was no file for 2026-10-15 yet: it has the rules of 2026-07-15.
 */
export type RevisionRules = {
  /** Largest number of properties of an event. */
  readonly maxEventProperties: number;
  /** The earliest year of an event's time. */
  readonly earliestEventYear: number;
  /**
   * A repeated `unique_id` within one request fails the request. At earlier revisions the first
   * event was recorded.
   */
  readonly failsOnRepeatedUniqueId: boolean;
  /**
   * Events and their bulk wrappers accept `backfill`, which records an event without triggering
   * flows.
   */
  readonly takesBackfill: boolean;
  /** Profile imports and updates accept `anonymous_id`. The profile of an event always does. */
  readonly takesAnonymousIdOnImport: boolean;
  /** The `meta` of a profile accepts `patch_identifiers`. */
  readonly takesPatchIdentifiers: boolean;
  /** `GET /api/events` accepts `page[size]`. */
  readonly pagesEventsBySize: boolean;
  /** `GET /api/events` accepts `has(metric)`. */
  readonly filtersEventsByHasMetric: boolean;
  /** `GET /api/lists` accepts `page[size]`. */
  readonly pagesListsBySize: boolean;
  /** Each profile of a subscription or unsubscription job must have `subscriptions`. */
  readonly requiresSubscriptions: boolean;
  /** Subscription jobs accept the channel `whatsapp`. */
  readonly takesWhatsAppConsent: boolean;
  /** Subscription jobs accept the channel `push`. */
  readonly takesPushConsent: boolean;
  /** Subscription jobs accept `open_tracking` of the channel `email`. */
  readonly takesOpenTrackingConsent: boolean;
  /** Operations that create a job or merge profiles accept `fields`. */
  readonly selectsFieldsOfNewJobs: boolean;
  /** The tier of reads of catalog jobs. */
  readonly catalogReadTier: 'L' | 'XL';
  /** Requests a minute to an operation of tier L. */
  readonly largeTierPerMinute: number;
};

export type Revision = RevisionRules & {
  /** YYYY-MM-DD, the day of the release. */
  readonly date: string;
};

/** How requests to a retired revision are handled. */
export type Retirement = {
  /** `forward`: the next revision that is not retired responds. `gone`: the response is 410. */
  readonly answer: 'forward' | 'gone';
  /** If false, a request that opts out of falling forward is forwarded nevertheless. */
  readonly heedsOptOut: boolean;
  /** The response names the revision that was used, in its `revision` header. */
  readonly named: boolean;
  /** Replaces the error document of the 410. */
  readonly body?: unknown;
};

/** The rules of the earliest revision. Later ones change them. */
export const oldestRules: RevisionRules = {
  maxEventProperties: 300,
  earliestEventYear: 2000,
  failsOnRepeatedUniqueId: false,
  takesBackfill: false,
  takesAnonymousIdOnImport: true,
  takesPatchIdentifiers: false,
  pagesEventsBySize: false,
  filtersEventsByHasMetric: false,
  pagesListsBySize: false,
  requiresSubscriptions: false,
  takesWhatsAppConsent: false,
  takesPushConsent: false,
  takesOpenTrackingConsent: false,
  selectsFieldsOfNewJobs: false,
  catalogReadTier: 'XL',
  largeTierPerMinute: 700,
};

/** The changes of each release, oldest first. Changes before 2024-10-15 are not imitated. */
const releases: readonly (readonly [date: string, changes: Partial<RevisionRules>])[] = [
  ['2022-10-17', {}],
  ['2023-01-24', {}],
  ['2023-02-22', {}],
  ['2023-06-15', {}],
  ['2023-07-15', {}],
  ['2023-10-15', {}],
  ['2023-12-15', {}],
  ['2024-02-15', {}],
  ['2024-05-15', {}],
  ['2024-07-15', {}],
  ['2024-10-15', {}],
  ['2025-01-15', { failsOnRepeatedUniqueId: true, requiresSubscriptions: true }],
  ['2025-04-15', { maxEventProperties: 400 }],
  ['2025-07-15', {}],
  ['2025-10-15', { takesAnonymousIdOnImport: false, takesWhatsAppConsent: true }],
  ['2026-01-15', { pagesEventsBySize: true, largeTierPerMinute: 750 }],
  ['2026-04-15', { takesBackfill: true, takesPatchIdentifiers: true, takesPushConsent: true }],
  [
    '2026-07-15',
    {
      earliestEventYear: 1990,
      filtersEventsByHasMetric: true,
      pagesListsBySize: true,
      takesOpenTrackingConsent: true,
      selectsFieldsOfNewJobs: true,
      catalogReadTier: 'L',
    },
  ],
  ['2026-10-15', {}],
];

/** Oldest first. */
export const revisions: readonly Revision[] = releases.reduce<readonly Revision[]>(
  (known, [date, changes]) => [...known, { ...oldestRules, ...known.at(-1), ...changes, date }],
  [],
);

/** Returns the revision in force on this date, or undefined if the date is before the earliest. */
export function findRevision(date: string): Revision | undefined {
  return revisions.findLast((revision) => revision.date <= date);
}

/**
 * Returns the revisions that can respond instead of a retired one on the day `today`, oldest first.
 */
export function listLaterRevisions(than: Revision, today: string): readonly Revision[] {
  return revisions.filter(({ date }) => date > than.date && date <= today);
}

/**
 * Returns the date from which the revision is retired. Klaviyo supports a revision for two years
 * (its versioning policy).
 */
export function getRetirementDate({ date }: Revision): string {
  return `${Number(date.slice(0, 4)) + 2}${date.slice(4)}`;
}
