import type { Fact } from '../model/fact.js';
import { isAboutRevision, parseApiErrors, type ApiError } from './documents.js';
import { toHeaderText } from './rate-headers.js';
import { wrongEndpointStatuses } from './response.js';
import type { KlaviyoRequest, TransportResponse } from './transport.js';

/**
 * Revisions of Klaviyo's API. Klaviyo supports a revision for two years. With KLAVIYO_REVISION=auto the
 * relay uses the oldest tested revision that is still supported, and moves up to the next tested one when
 * Klaviyo responds that it does not serve the current one. It never moves down. The revision that the
 * relay moved up to is kept in the store, so that a restart does not have to find it out again.
 *
 * `testedRevisions` lists the revisions that the contract tests cover, oldest first, with the differences
 * that matter for what the relay sends. Source: Klaviyo's OpenAPI files ("Bulk Create Events"). A test
 * fails when the newest has less than a year of support left.
 */
export type TestedRevision = {
  /** YYYY-MM-DD, the day of its release. */
  readonly date: string;
  /** Maximum of properties of an event. */
  readonly maxEventProperties: number;
  /** Epoch ms. Klaviyo rejects events that are older. */
  readonly earliestEventTime: number;
  /** True if events may have `backfill`: Klaviyo then records them without triggering a flow. */
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

/** The rules under a revision: those of the newest tested revision that is not newer. */
export function toRules(revision: string): TestedRevision {
  return testedRevisions.findLast(({ date }) => date <= revision.slice(0, 10)) ?? oldest;
}

/** Epoch ms from which on Klaviyo may retire a revision: two years after its release (Klaviyo's versioning policy). */
export function toEndOfSupport(revision: string): number {
  const end = new Date(`${revision.slice(0, 10)}T00:00:00Z`);
  return end.setUTCFullYear(end.getUTCFullYear() + 2);
}

/** KLAVIYO_REVISION=auto: the oldest tested revision that is supported at `now`; the newest if none is. */
export function selectRevision(now: number): string {
  return (testedRevisions.find(({ date }) => now < toEndOfSupport(date)) ?? newest).date;
}

/** The next tested revision; null if there is none. */
export function toNextRevision(revision: string): string | null {
  return testedRevisions.find(({ date }) => date > revision.slice(0, 10))?.date ?? null;
}

/**
 * The revision for requests that need one of 2026-04-15 or later, such as backfilled events: `revision` if it is
 * one, else the first tested one that is.
 */
export function toNewRevision(revision: string): string {
  if (toRules(revision).takesBackfill) return revision;
  return (testedRevisions.find(({ takesBackfill }) => takesBackfill) ?? newest).date;
}

export type RevisionMove = {
  readonly from: string;
  readonly to: string;
  /** In Klaviyo's words. */
  readonly why: string;
};

export type RevisionOptions = {
  /** KLAVIYO_REVISION: `auto`, or a fixed revision. */
  readonly setting: string;
  /** Epoch ms. */
  readonly now: number;
  readonly onMove: (move: RevisionMove) => void;
};

/** The revision of all requests, in every lane. */
export class CurrentRevision {
  readonly isAuto: boolean;
  readonly #onMove: RevisionOptions['onMove'];
  #current: string;

  constructor({ setting, now, onMove }: RevisionOptions) {
    this.isAuto = setting === 'auto';
    this.#onMove = onMove;
    this.#current = this.isAuto ? selectRevision(now) : setting;
  }

  get current(): string {
    return this.#current;
  }

  /** A text for an operator: the revision, why it is used, and until when Klaviyo supports it. */
  explain(): string {
    const until = `supported until ${toDay(toEndOfSupport(this.#current))}`;
    if (!this.isAuto) return `${this.#current}, as KLAVIYO_REVISION says; ${until}`;
    const why =
      toNextRevision(this.#current) === null
        ? 'the newest that is tested'
        : 'the oldest that is tested and supported';
    return `${this.#current}, ${why} (KLAVIYO_REVISION is auto); ${until}`;
  }

  /** A warning for an operator if Klaviyo no longer supports the revision; otherwise null. */
  warning(now: number): string | null {
    const end = toEndOfSupport(this.#current);
    if (now < end) return null;
    const since = `ran out of support on ${toDay(end)}`;
    return this.isAuto
      ? `Klaviyo's revision ${this.#current}, the newest that is tested, ${since}: update klaviyo-relay`
      : `KLAVIYO_REVISION ${this.#current} ${since}: set it to auto`;
  }

  /** Continues with the revision of an earlier run. Ignores one that is not tested, or not newer than the current one. */
  restore(kept: string | null): void {
    const isTested = testedRevisions.some(({ date }) => date === kept);
    if (this.isAuto && kept !== null && isTested && kept > this.#current) this.#current = kept;
  }

  /**
   * Moves up if the response says that Klaviyo does not serve `used`. Returns the revision to use
   * instead. Returns null if the response does not say so, if the setting is a fixed revision, or if
   * `used` is the newest tested one.
   */
  noteResponse(used: string, request: KlaviyoRequest, response: TransportResponse): string | null {
    const why = this.isAuto ? findRetirement(used, request, response) : null;
    if (why === null) return null;
    // The response to an earlier request has already raised the revision.
    if (this.#current > used) return this.#current;
    const next = toNextRevision(used);
    if (next === null) return null;
    const from = this.#current;
    this.#current = next;
    this.#onMove({ from, to: next, why });
    return next;
  }
}

const toDay = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Klaviyo responds with these to a revision that it does not serve, or that lacks the endpoint. */
const retirementStatuses: readonly number[] = [400, ...wrongEndpointStatuses];

/** The text in which Klaviyo says that it does not serve the revision, or that it used another one; otherwise null. */
function findRetirement(
  used: string,
  { method }: KlaviyoRequest,
  response: TransportResponse,
): string | null {
  if (!response.ok) return null;
  const usedByKlaviyo = toHeaderText(response.headers.revision) ?? '';
  if (/^\d{4}-\d{2}-\d{2}/.test(usedByKlaviyo) && usedByKlaviyo.slice(0, 10) > used.slice(0, 10))
    return `Klaviyo answered with revision ${usedByKlaviyo}`;
  if (!retirementStatuses.includes(response.status)) return null;
  const errors = parseApiErrors(response.bodyText);
  const about = errors.find((error) => isAboutRevision(error) && !isAboutData(error));
  // A revision in the future was not retired.
  if (about !== undefined) return /future/i.test(about.detail) ? null : about.detail;
  // A 410 to a GET is about the resource. Klaviyo documents no other 410 to a POST.
  if (response.status !== 410 || method !== 'POST' || errors.length === 0) return null;
  return errors[0]?.detail ?? null;
}

const isAboutData = ({ pointer }: ApiError): boolean => /^#?\/?data\b/.test(pointer);

/** The part of the store that keeps the revision. */
type Facts = {
  putFacts(facts: readonly Fact[]): Promise<unknown>;
  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]>;
};

const factKey = 'klaviyo-revision';

/** The revision that an earlier run moved up to; null if there is none, or if the store cannot be read now. */
export async function loadRevision(facts: Facts): Promise<string | null> {
  const [kept = null] = await facts.getFacts([factKey]).catch(() => []);
  return kept;
}

/** A failure is ignored: the next run then moves up by itself. */
export async function saveRevision(facts: Facts, revision: string): Promise<void> {
  await facts.putFacts([{ kind: 'other', key: factKey, value: revision }]).catch(() => undefined);
}
