import type { ImportJob } from '../model/delivery.js';
import { isAboutRevision, isRecord, tryParseJson, parseApiErrors } from './api-errors.js';
import { isDocument, isErrorDocument, type Resource } from './documents.js';
import type { TransportResponse } from './transport.js';

/** What the two ways of following import jobs have in common: by one job, and by the list of all. */

/** `get` resolves whatever happens at the far side. */
export type ImportJobReader = { get(path: string): Promise<TransportResponse>; now(): number };

/** The most that Klaviyo gives at once. */
export const pageSize = 100;

/**
 * `lost`: worth asking again, because the answer is not Klaviyo's, or says nothing for good.
 * `refused`: this key may never read this. `gone`: there is no such job.
 */
export type ImportResponse =
  | { readonly kind: 'read'; readonly body: unknown }
  | { readonly kind: 'lost' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'gone' };

export function readImportResponse(reply: TransportResponse): ImportResponse {
  if (!reply.ok || !reply.isWhole) return { kind: 'lost' };
  const body = tryParseJson(reply.bodyText);
  if (reply.status === 200 && isDocument(body)) return { kind: 'read', body };
  if (!isErrorDocument(body) || speaksOfRevision(reply.bodyText)) return { kind: 'lost' };
  if (reply.status === 403) return { kind: 'refused' };
  return { kind: reply.status === 404 || reply.status === 410 ? 'gone' : 'lost' };
}

/** A revision without this endpoint, or one that is retired, is answered with a 404 or a 410, too. */
const speaksOfRevision = (bodyText: string): boolean =>
  parseApiErrors(bodyText).some(isAboutRevision);

const statuses: ReadonlyMap<unknown, ImportJob['status']> = new Map([
  ['queued', 'queued'],
  ['processing', 'processing'],
  ['complete', 'complete'],
  ['cancelled', 'cancelled'],
]);

export type ParsedImportJob = {
  readonly job: ImportJob;
  /** As the answer has it. */
  readonly id: string;
  /** Of profiles, as Klaviyo counts them. */
  readonly total: number;
  /** The status is one of Klaviyo's OpenAPI. */
  readonly isKnown: boolean;
};

/** Null where the resource is no import job. A status nobody knows counts as not ended. */
export function parseImportJob(ref: string, resource: Resource | null): ParsedImportJob | null {
  const { id, attributes } = resource ?? {};
  if (typeof id !== 'string' || !isRecord(attributes)) return null;
  const total = toCount(attributes.total_count);
  // Klaviyo's OpenAPI requires it; the other two may be null.
  if (total === null) return null;
  const status = statuses.get(attributes.status);
  const job: ImportJob = {
    id: ref,
    status: status ?? 'queued',
    completed: toCount(attributes.completed_count),
    failed: toCount(attributes.failed_count),
  };
  return { job, id, total, isKnown: status !== undefined };
}

const toCount = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;

/** The query of a page; null is the first. */
export function toPageQuery(
  cursor: string | null,
  others: Readonly<Record<string, string>> = {},
): string {
  const query = new URLSearchParams({ ...others, 'page[size]': String(pageSize) });
  if (cursor !== null) query.set('page[cursor]', cursor);
  return `?${query.toString()}`;
}

/** Only the cursor is taken from `links.next`: the key never goes to another host, nor to another path. */
export function toNextCursor(body: unknown): string | null {
  const links = isRecord(body) ? body.links : undefined;
  const next = isRecord(links) ? links.next : undefined;
  if (typeof next !== 'string' || !URL.canParse(next, 'http://localhost')) return null;
  return new URL(next, 'http://localhost').searchParams.get('page[cursor]');
}
