/**
 * Klaviyo's revisions and what differs between them at the routes the sandbox serves.
 * Sources: Klaviyo's OpenAPI files (github.com/klaviyo/openapi has a branch for each revision) for
 * properties, times, `anonymous_id`, `backfill` and `patch_identifiers`; for the rest, the models of its
 * Node client, which has one release for each revision from 2024-10-15 on (12.0.1 to 23.0.0). No file was at hand for 2026-10-15: it has the rules of 2026-07-15.
 */
export type RevisionRules = {
  /** Properties that an event may have. */
  readonly maxEventProperties: number;
  /** The first year an event may be of. */
  readonly earliestEventYear: number;
  /** The same unique_id twice in one request fails it; before, the first of them was recorded. */
  readonly failsOnRepeatedUniqueId: boolean;
  /** Events and their bulk wrappers take `backfill`: recorded, and no flow is triggered. */
  readonly takesBackfill: boolean;
  /** Profile imports and updates take `anonymous_id`; on the profile of an event it is always taken. */
  readonly takesAnonymousIdOnImport: boolean;
  /** The `meta` of a profile takes `patch_identifiers`. */
  readonly takesPatchIdentifiers: boolean;
  /** `GET /api/events` takes `page[size]`. */
  readonly pagesEventsBySize: boolean;
  /** `GET /api/events` takes `has(metric)`. */
  readonly filtersEventsByHasMetric: boolean;
  /** Requests a minute to an operation of the large tier. */
  readonly largeTierPerMinute: number;
};

export type Revision = RevisionRules & {
  /** YYYY-MM-DD, the day of its release. */
  readonly date: string;
};

/** How a retired revision is answered. */
export type Retirement = {
  /** `forward`: with the next revision that is not retired; `gone`: with 410. */
  readonly answer: 'forward' | 'gone';
  /** False where a request that opts out of falling forward is answered with a later revision all the same. */
  readonly heedsOptOut: boolean;
  /** The answer names the revision that was used, in its `revision` header. */
  readonly named: boolean;
  /** Answers in place of the error document of the 410. */
  readonly body?: unknown;
};

/** Those of the earliest revision, which the others change. */
export const oldestRules: RevisionRules = {
  maxEventProperties: 300,
  earliestEventYear: 2000,
  failsOnRepeatedUniqueId: false,
  takesBackfill: false,
  takesAnonymousIdOnImport: true,
  takesPatchIdentifiers: false,
  pagesEventsBySize: false,
  filtersEventsByHasMetric: false,
  largeTierPerMinute: 700,
};

/** What each release changed, oldest first. What changed before 2024-10-15 is not played. */
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
  ['2025-01-15', { failsOnRepeatedUniqueId: true }],
  ['2025-04-15', { maxEventProperties: 400 }],
  ['2025-07-15', {}],
  ['2025-10-15', { takesAnonymousIdOnImport: false }],
  ['2026-01-15', { pagesEventsBySize: true, largeTierPerMinute: 750 }],
  ['2026-04-15', { takesBackfill: true, takesPatchIdentifiers: true }],
  ['2026-07-15', { earliestEventYear: 1990, filtersEventsByHasMetric: true }],
  ['2026-10-15', {}],
];

/** Oldest first. */
export const revisions: readonly Revision[] = releases.reduce<readonly Revision[]>(
  (known, [date, changes]) => [...known, { ...oldestRules, ...known.at(-1), ...changes, date }],
  [],
);

/** The revision in force on that date; undefined where the date is before the earliest. */
export function toRevision(date: string): Revision | undefined {
  return revisions.findLast((revision) => revision.date <= date);
}

/** Those that a retired revision can be answered with on the day `today`, oldest first. */
export function toLaterRevisions(than: Revision, today: string): readonly Revision[] {
  return revisions.filter(({ date }) => date > than.date && date <= today);
}

/** Klaviyo supports a revision for two years (its versioning policy): the date from which on it is retired. */
export function toRetirementDate({ date }: Revision): string {
  return `${Number(date.slice(0, 4)) + 2}${date.slice(4)}`;
}
