import type { Fact } from '../model/fact.js';
import { wrongEndpointStatuses } from './success.js';
import { isAboutRevision, parseApiErrors, type ApiError } from './api-errors.js';
import { toHeaderText } from './rate-headers.js';
import { selectRevision, testedRevisions, toEndOfSupport, toNextRevision } from './revisions.js';
import type { TransportResponse, KlaviyoRequest } from './transport.js';

export type RevisionMove = {
  readonly from: string;
  readonly to: string;
  /** Klaviyo's words. */
  readonly why: string;
};

export type RevisionOptions = {
  /** KLAVIYO_REVISION: `auto`, or a revision that is kept. */
  readonly setting: string;
  /** Epoch ms. */
  readonly now: number;
  readonly onMove: (move: RevisionMove) => void;
};

/**
 * The revision that requests are sent under, of all lanes. With `auto` it moves up to the next tested
 * one when Klaviyo answers that it does not serve the one in use; it never moves down.
 */
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

  /** Which revision is used, why, and until when, for a person. */
  explain(): string {
    const until = `supported until ${toDay(toEndOfSupport(this.#current))}`;
    if (!this.isAuto) return `${this.#current}, as KLAVIYO_REVISION says; ${until}`;
    const why =
      toNextRevision(this.#current) === null
        ? 'the newest that is tested'
        : 'the oldest that is tested and supported';
    return `${this.#current}, ${why} (KLAVIYO_REVISION is auto); ${until}`;
  }

  /** A sentence for an operator once the revision in use is out of support; null before. */
  warning(now: number): string | null {
    const end = toEndOfSupport(this.#current);
    if (now < end) return null;
    const since = `ran out of support on ${toDay(end)}`;
    return this.isAuto
      ? `Klaviyo's revision ${this.#current}, the newest that is tested, ${since}: update klaviyo-relay`
      : `KLAVIYO_REVISION ${this.#current} ${since}: set it to auto`;
  }

  /** What an earlier run had moved up to. Ignored where it is no tested revision, or not a later one. */
  restore(kept: string | null): void {
    const isTested = testedRevisions.some(({ date }) => date === kept);
    if (this.isAuto && kept !== null && isTested && kept > this.#current) this.#current = kept;
  }

  /**
   * Moves up where an answer says that `used` is not served. Returns the revision to use instead, or
   * null where there is none: the answer does not say so, the revision is set, or it is the newest.
   */
  noteResponse(used: string, request: KlaviyoRequest, reply: TransportResponse): string | null {
    const why = this.isAuto ? toRetirement(used, request, reply) : null;
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

/** What the revision that was moved up to is kept in. */
type Facts = {
  putFacts(facts: readonly Fact[]): Promise<unknown>;
  getFacts(keys: readonly string[]): Promise<readonly (string | null)[]>;
};

const factKey = 'klaviyo-revision';

/** What an earlier run moved up to; null where none did, or where that cannot be read now. */
export async function loadRevision(facts: Facts): Promise<string | null> {
  const [kept = null] = await facts.getFacts([factKey]).catch(() => []);
  return kept;
}

/** Where it cannot be kept, the next run finds out by itself. */
export async function saveRevision(facts: Facts, revision: string): Promise<void> {
  await facts.putFacts([{ kind: 'other', key: factKey, value: revision }]).catch(() => undefined);
}

const toDay = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Statuses with which Klaviyo answers that it does not serve a revision, or not this endpoint in it. */
const refusals: readonly number[] = [400, ...wrongEndpointStatuses];

/** Klaviyo's words that it does not serve the revision, or that it answered with another; null where it does. */
function toRetirement(
  used: string,
  { method }: KlaviyoRequest,
  reply: TransportResponse,
): string | null {
  if (!reply.ok) return null;
  const answered = toHeaderText(reply.headers.revision) ?? '';
  if (/^\d{4}-\d{2}-\d{2}/.test(answered) && answered.slice(0, 10) > used.slice(0, 10))
    return `Klaviyo answered with revision ${answered}`;
  if (!refusals.includes(reply.status)) return null;
  const errors = parseApiErrors(reply.bodyText);
  const about = errors.find((error) => isAboutRevision(error) && !isOfData(error));
  // A revision of the future is none that was retired.
  if (about !== undefined) return /future/i.test(about.detail) ? null : about.detail;
  // What else a 410 says is not documented. That a thing is gone is said of what is read.
  if (reply.status !== 410 || method !== 'POST' || errors.length === 0) return null;
  return errors[0]?.detail ?? null;
}

const isOfData = ({ pointer }: ApiError): boolean => /^#?\/?data\b/.test(pointer);
