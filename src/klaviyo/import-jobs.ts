import type { ImportJob, JobAddress } from '../model/delivery.js';
import type { ImportedPayloads, ListedImportJobs, PollResult } from '../model/destination.js';
import { readElement } from '../model/group.js';
import { laneTraits } from '../model/lane.js';
import type { Outcome } from '../model/outcome.js';
import {
  isAboutRevision,
  isDocument,
  isErrorDocument,
  isRecord,
  parseApiErrors,
  toResource,
  toResources,
  tryParseJson,
  type Resource,
} from './documents.js';
import {
  parseImportError,
  toCountedOutcomes,
  toImportOutcomes,
  type EndedJob,
  type ImportError,
} from './import-outcomes.js';
import type { LaneApi } from './lanes/lane.js';
import { getLaneApi } from './lanes/list.js';
import { profiles } from './lanes/profiles.js';
import { toRateFeedback } from './rate-headers.js';
import type { TransportResponse } from './transport.js';

/**
 * Reads the jobs that Klaviyo made of accepted requests, in two ways:
 * - `pollImportJob` reads one job, and all pages of its import errors if it is an import that ended with
 *   failures. `import-outcomes.ts` then decides what became of each element.
 * - `listImportJobs` reads the list of open imports of profiles, which replaces one poll for each of them.
 *
 * A response that does not come from Klaviyo never ends a job: the job is polled again.
 */

/** `get` always resolves. `now` is epoch ms. */
export type ImportJobReader = { get(path: string): Promise<TransportResponse>; now(): number };

/** Klaviyo's maximum. */
const pageSize = 100;
/** A profile may have several errors, so a job may have more pages than its failures fill. */
const sparePages = 10;
/** Other integrations of the account may have thousands of open jobs. */
const maxListPages = 10;
/**
 * By Klaviyo's OpenAPI files, `status` is the only field, `any` and `equals` are its operators, and
 * `queued`, `processing` and `complete` its values. A cancelled job is in no such list.
 */
const openJobsQuery = {
  filter: 'any(status,["queued","processing"])',
  sort: '-created_at',
} as const;

/** Elements without the group that the stored payloads have around them. */
const withoutGroups = ({ count, payloads }: ImportedPayloads): ImportedPayloads => ({
  count,
  payloads: () => payloads().map(readElement),
});

/** Polls one job. */
export async function pollImportJob(
  { lane, ref }: JobAddress,
  imported: ImportedPayloads,
  reader: ImportJobReader,
): Promise<PollResult> {
  const api = getLaneApi(lane);
  const sent = laneTraits[lane].isGrouped === true ? withoutGroups(imported) : imported;
  const path = `${api.path}/${encodeURIComponent(ref)}`;
  const response = await reader.get(path);
  const feedback = response.ok ? toRateFeedback(response.headers, reader.now()) : null;
  const read = readImportResponse(response);
  if (read.kind === 'forbidden' || read.kind === 'gone') {
    const outcome = read.kind === 'forbidden' ? accepted : gone;
    const outcomes = Array<Outcome>(imported.count).fill(outcome);
    const job = toUnknownJob(ref, 'unreadable');
    return { job, outcomes, retryable: false, feedback };
  }
  const resource = read.kind === 'document' ? toResource(read.body, api.body.type) : null;
  const parsed = parseImportJob(ref, resource);
  if (parsed === null) {
    return { job: toUnknownJob(ref, 'queued'), outcomes: null, retryable: true, feedback };
  }
  const { job, id: reportedId, total } = parsed;
  if (job.status === 'queued' || job.status === 'processing') {
    return { job, outcomes: null, retryable: false, feedback, reportedId };
  }
  const outcomes = readOutcomes(api, sent, { ...job, total });
  if (outcomes !== null) return { job, outcomes, retryable: false, feedback, reportedId };
  const expected = Math.max(job.failed ?? 0, imported.count);
  const maxPages = Math.ceil(expected / pageSize) + sparePages;
  const errors = await readImportErrors(`${path}/import-errors`, maxPages, reader);
  const lastFeedback = errors.last.ok ? toRateFeedback(errors.last.headers, reader.now()) : null;
  if (errors.end === 'retry') {
    return { job, outcomes: null, retryable: true, feedback: lastFeedback, reportedId };
  }
  return {
    job: errors.end === 'document' ? job : { ...job, status: 'unreadable' },
    outcomes: toImportOutcomes(sent, errors.errors, { ...job, total }),
    retryable: false,
    feedback: lastFeedback,
    reportedId,
  };
}

/** Returns what the ended job did; null if its import errors have to be read for that. */
function readOutcomes(
  { success }: LaneApi,
  imported: ImportedPayloads,
  job: EndedJob,
): readonly Outcome[] | null {
  if (success === 'counting-job') return toCountedOutcomes(imported.count, job);
  if (job.failed !== 0 || job.completed === null) return null;
  return toImportOutcomes(imported, [], job);
}

/** Klaviyo accepted the elements, but this key is not allowed to read the result. */
const accepted: Outcome = { kind: 'delivered' };
/** Klaviyo keeps a job for 7 days. The result is unknown, and the request may be repeated. */
const gone: Outcome = {
  kind: 'retryable',
  reason: { code: 'import_gone', detail: 'Klaviyo does not have the job any more' },
};

const toUnknownJob = (ref: string, status: ImportJob['status']): ImportJob => ({
  id: ref,
  status,
  completed: null,
  failed: null,
});

type ImportErrors = {
  readonly errors: readonly ImportError[];
  /** `document`: all pages were read, or as many as the bound allows. */
  readonly end: ImportResponse['kind'];
  readonly last: TransportResponse;
};

async function readImportErrors(
  path: string,
  maxPages: number,
  reader: ImportJobReader,
): Promise<ImportErrors> {
  const errors: ImportError[] = [];
  const cursors = new Set<string | null>([null]);
  let cursor: string | null = null;
  for (;;) {
    const last: TransportResponse = await reader.get(path + toPageQuery(cursor));
    const read = readImportResponse(last);
    if (read.kind !== 'document') return { errors, end: read.kind, last };
    const page = toResources(read.body, 'import-error');
    if (page === null) return { errors, end: 'retry', last };
    errors.push(...page.map(parseImportError));
    cursor = toNextCursor(read.body);
    // A cursor that comes again would never end.
    if (cursors.has(cursor) || cursors.size >= maxPages) return { errors, end: 'document', last };
    cursors.add(cursor);
  }
}

/** Finds out which of these imports of profiles Klaviyo's list shows as open. Other jobs of the account are ignored. */
export async function listImportJobs(
  refs: ReadonlySet<string>,
  reader: ImportJobReader,
): Promise<ListedImportJobs> {
  const open = new Map<string, ImportJob>();
  const cursors = new Set<string>();
  let cursor: string | null = null;
  for (let requests = 1; ; requests++) {
    const response = await reader.get(profiles.path + toPageQuery(cursor, openJobsQuery));
    const feedback = response.ok ? toRateFeedback(response.headers, reader.now()) : null;
    const read = readImportResponse(response);
    const page = read.kind === 'document' ? toResources(read.body, profiles.body.type) : null;
    if (read.kind !== 'document' || page === null) {
      return { requests, feedback, open: [...open.values()], end: 'failed' };
    }
    for (const resource of page) {
      const { id } = resource;
      if (typeof id !== 'string' || !refs.has(id)) continue;
      const job = parseOpenJob(id, resource);
      if (job !== null) open.set(id, job);
    }
    const missing = refs.size - open.size;
    cursor = toNextCursor(read.body);
    if (missing === 0 || cursor === null) {
      return { requests, feedback, open: [...open.values()], end: 'complete' };
    }
    // Polling each of the missing jobs costs no more requests. A cursor that comes again would never end.
    if (requests >= Math.min(missing, maxListPages) || cursors.has(cursor)) {
      return { requests, feedback, open: [...open.values()], end: 'partial' };
    }
    cursors.add(cursor);
  }
}

/** Returns null for a job that is not certainly open: it has ended, or its status is unknown. */
function parseOpenJob(ref: string, resource: Resource): ImportJob | null {
  const parsed = parseImportJob(ref, resource);
  if (parsed?.isKnownStatus !== true) return null;
  const { job } = parsed;
  return job.status === 'queued' || job.status === 'processing' ? job : null;
}

/**
 * - `document`: Klaviyo's documented success.
 * - `retry`: the response does not come from Klaviyo, or a later request may succeed (401, 429, 5xx).
 * - `forbidden`: the key lacks the scope to read this.
 * - `gone`: Klaviyo does not have the job.
 */
type ImportResponse =
  | { readonly kind: 'document'; readonly body: unknown }
  | { readonly kind: 'retry' }
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'gone' };

function readImportResponse(response: TransportResponse): ImportResponse {
  if (!response.ok || !response.isWhole) return { kind: 'retry' };
  const body = tryParseJson(response.bodyText);
  if (response.status === 200 && isDocument(body)) return { kind: 'document', body };
  // A retired revision, or one without this endpoint, is also answered with a 404 or a 410.
  if (!isErrorDocument(body) || parseApiErrors(response.bodyText).some(isAboutRevision)) {
    return { kind: 'retry' };
  }
  if (response.status === 403) return { kind: 'forbidden' };
  return { kind: response.status === 404 || response.status === 410 ? 'gone' : 'retry' };
}

const knownStatuses: ReadonlyMap<unknown, ImportJob['status']> = new Map([
  ['queued', 'queued'],
  ['processing', 'processing'],
  ['complete', 'complete'],
  ['cancelled', 'cancelled'],
]);

type ParsedImportJob = {
  readonly job: ImportJob;
  /** The id in the response. */
  readonly id: string;
  /** Klaviyo's own count of the elements. */
  readonly total: number;
  /** True if Klaviyo's OpenAPI has the status. */
  readonly isKnownStatus: boolean;
};

/** Returns null if the resource is not such a job. An unknown status counts as not ended. */
function parseImportJob(ref: string, resource: Resource | null): ParsedImportJob | null {
  const { id, attributes } = resource ?? {};
  if (typeof id !== 'string' || !isRecord(attributes)) return null;
  const total = countOrNull(attributes.total_count);
  // Klaviyo's OpenAPI requires `total_count`; the other counts may be null, and only imports count failures.
  if (total === null) return null;
  const status = knownStatuses.get(attributes.status);
  const job: ImportJob = {
    id: ref,
    status: status ?? 'queued',
    completed: countOrNull(attributes.completed_count),
    failed: countOrNull(attributes.failed_count),
  };
  return { job, id, total, isKnownStatus: status !== undefined };
}

const countOrNull = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;

/** The query of one page; a null cursor means the first page. */
function toPageQuery(
  cursor: string | null,
  parameters: Readonly<Record<string, string>> = {},
): string {
  const query = new URLSearchParams({ ...parameters, 'page[size]': String(pageSize) });
  if (cursor !== null) query.set('page[cursor]', cursor);
  return `?${query.toString()}`;
}

/** Only the cursor of `links.next` is used, so that the key is never sent to another host or path. */
function toNextCursor(body: unknown): string | null {
  const links = isRecord(body) ? body.links : undefined;
  const next = isRecord(links) ? links.next : undefined;
  if (typeof next !== 'string' || !URL.canParse(next, 'http://localhost')) return null;
  return new URL(next, 'http://localhost').searchParams.get('page[cursor]');
}
