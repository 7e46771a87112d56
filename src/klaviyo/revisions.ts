/**
 * The revisions of Klaviyo's API that the contract tests cover, oldest first, and what differs between
 * them for what the relay sends. Source: Klaviyo's OpenAPI files of these revisions ("Bulk Create
 * Events"). A test fails when the newest has less than a year of support left.
 */
export type TestedRevision = {
  /** YYYY-MM-DD, the day of its release. */
  readonly date: string;
  /** Properties that an event may have. */
  readonly maxEventProperties: number;
  /** Epoch ms; no event may be older. */
  readonly earliestEventTime: number;
  /** Events take `backfill`: they are recorded, and no flow is triggered. */
  readonly takesBackfill: boolean;
};

const oldest: TestedRevision = {
  date: '2024-10-15',
  maxEventProperties: 300,
  earliestEventTime: Date.UTC(2000, 0, 1),
  takesBackfill: false,
};
const newest: TestedRevision = {
  date: '2026-07-15',
  maxEventProperties: 400,
  earliestEventTime: Date.UTC(1990, 0, 1),
  takesBackfill: true,
};

export const testedRevisions: readonly TestedRevision[] = [oldest, newest];

/** What holds under a revision: the rules of the newest tested one that is not newer. */
export function toRules(revision: string): TestedRevision {
  return testedRevisions.findLast(({ date }) => date <= revision.slice(0, 10)) ?? oldest;
}

/** Epoch ms of the day from which on Klaviyo may retire a revision: two years after its release (Klaviyo's versioning policy). */
export function toEndOfSupport(revision: string): number {
  const end = new Date(`${revision.slice(0, 10)}T00:00:00Z`);
  return end.setUTCFullYear(end.getUTCFullYear() + 2);
}

/** KLAVIYO_REVISION=auto: the oldest tested revision that Klaviyo supports on that day, and the newest where it supports none. */
export function selectRevision(now: number): string {
  return (testedRevisions.find(({ date }) => now < toEndOfSupport(date)) ?? newest).date;
}

/** The next tested revision after this one; null where there is none. */
export function toNextRevision(revision: string): string | null {
  return testedRevisions.find(({ date }) => date > revision.slice(0, 10))?.date ?? null;
}

/** The revision to send backfilled events under: the one in use where it knows them, else the first tested one that does. */
export function toBackfillRevision(revision: string): string {
  if (toRules(revision).takesBackfill) return revision;
  return (testedRevisions.find(({ takesBackfill }) => takesBackfill) ?? newest).date;
}
