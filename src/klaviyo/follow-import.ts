import type { Followed, Imported, ImportJob, Outcome } from '../envelope.js';
import { isAboutRevision, isObject, parse, toApiErrors } from './api-errors.js';
import { isDocument, isErrorDocument, toResource, toResources } from './documents.js';
import { toImportError, toImportOutcomes, type ImportError } from './import-outcomes.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath, importJobType } from './request.js';
import type { Reply } from './transport.js';

/** `get` resolves whatever happens at the far side. */
export type FollowDeps = { get(path: string): Promise<Reply>; now(): number };

/** The most that Klaviyo gives at once. */
const pageSize = 100;
/** A profile may have several errors, so there may be more pages than profiles say. */
const sparePages = 10;

/** One look at a bulk import job and, where it ended with failures, at all pages of its import errors. */
export async function followImport(
  ref: string,
  imported: Imported,
  deps: FollowDeps,
): Promise<Followed> {
  const path = `${bulkPath.profiles}/${encodeURIComponent(ref)}`;
  const reply = await deps.get(path);
  const feedback = reply.ok ? toRateFeedback(reply.headers, deps.now()) : null;
  const answered = toAnswered(reply);
  if (answered.kind === 'refused' || answered.kind === 'gone') {
    const job = toUnknown(ref, 'unreadable');
    const outcome = answered.kind === 'refused' ? taken : gone;
    const outcomes = Array<Outcome>(imported.count).fill(outcome);
    return { job, outcomes, retryable: false, feedback };
  }
  const seen = answered.kind === 'read' ? toJob(ref, answered.body) : null;
  if (seen === null) {
    return { job: toUnknown(ref, 'queued'), outcomes: null, retryable: true, feedback };
  }
  const { job, total } = seen;
  if (job.status === 'queued' || job.status === 'processing') {
    return { job, outcomes: null, retryable: false, feedback };
  }
  if (job.failed === 0 && job.completed !== null) {
    const outcomes = toImportOutcomes(imported, [], { ...job, total });
    return { job, outcomes, retryable: false, feedback };
  }
  return followFailures({ job, total, path }, imported, deps);
}

/** Klaviyo took the profiles, and this key may never read what became of them. */
const taken: Outcome = { kind: 'delivered' };
/** Klaviyo keeps a job for 7 days. What became of the profiles is unknown, and an import may be repeated. */
const gone: Outcome = {
  kind: 'retryable',
  reason: { code: 'import_gone', detail: 'Klaviyo does not have the import job any more' },
};

async function followFailures(
  { job, total, path }: SeenJob & { readonly path: string },
  imported: Imported,
  deps: FollowDeps,
): Promise<Followed> {
  const expected = Math.max(job.failed ?? 0, imported.count);
  const maxPages = Math.ceil(expected / pageSize) + sparePages;
  const read = await readErrors(`${path}/import-errors`, maxPages, deps);
  const feedback = read.last.ok ? toRateFeedback(read.last.headers, deps.now()) : null;
  if (read.end === 'lost') return { job, outcomes: null, retryable: true, feedback };
  const outcomes = toImportOutcomes(imported, read.errors, { ...job, total });
  const ended: ImportJob = read.end === 'read' ? job : { ...job, status: 'unreadable' };
  return { job: ended, outcomes, retryable: false, feedback };
}

/**
 * `lost`: worth asking again, because the answer is not Klaviyo's, or says nothing for good.
 * `refused`: this key may never read this job. `gone`: there is no such job.
 */
type Answered =
  | { readonly kind: 'read'; readonly body: unknown }
  | { readonly kind: 'lost' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'gone' };

function toAnswered(reply: Reply): Answered {
  if (!reply.ok || !reply.isWhole) return { kind: 'lost' };
  const body = parse(reply.bodyText);
  if (reply.status === 200 && isDocument(body)) return { kind: 'read', body };
  if (!isErrorDocument(body) || speaksOfRevision(reply.bodyText)) return { kind: 'lost' };
  if (reply.status === 403) return { kind: 'refused' };
  return { kind: reply.status === 404 || reply.status === 410 ? 'gone' : 'lost' };
}

/** A revision without this endpoint, or one that is retired, is answered with a 404 or a 410, too. */
const speaksOfRevision = (bodyText: string): boolean => toApiErrors(bodyText).some(isAboutRevision);

const toUnknown = (ref: string, status: ImportJob['status']): ImportJob => ({
  id: ref,
  status,
  completed: null,
  failed: null,
});

const endings: ReadonlyMap<unknown, ImportJob['status']> = new Map([
  ['processing', 'processing'],
  ['complete', 'complete'],
  ['cancelled', 'cancelled'],
]);

/** `total`: of profiles, as Klaviyo counts them. */
type SeenJob = { readonly job: ImportJob; readonly total: number };

/** Null where the answer is no import job. A status nobody knows counts as not ended. */
function toJob(ref: string, body: unknown): SeenJob | null {
  const attributes = toResource(body, importJobType)?.attributes;
  if (!isObject(attributes)) return null;
  const total = toCount(attributes.total_count);
  // Klaviyo's OpenAPI requires it; the other two may be null.
  if (total === null) return null;
  const job: ImportJob = {
    id: ref,
    status: endings.get(attributes.status) ?? 'queued',
    completed: toCount(attributes.completed_count),
    failed: toCount(attributes.failed_count),
  };
  return { job, total };
}

const toCount = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;

type ErrorsRead = {
  readonly errors: readonly ImportError[];
  /** `read`: as far as there are pages, or the bound. */
  readonly end: Answered['kind'];
  readonly last: Reply;
};

async function readErrors(path: string, maxPages: number, deps: FollowDeps): Promise<ErrorsRead> {
  const errors: ImportError[] = [];
  const seen = new Set<string | null>([null]);
  let cursor: string | null = null;
  for (;;) {
    const last: Reply = await deps.get(path + toQuery(cursor));
    const answered = toAnswered(last);
    if (answered.kind !== 'read') return { errors, end: answered.kind, last };
    const { body } = answered;
    const page = toResources(body, 'import-error');
    if (page === null) return { errors, end: 'lost', last };
    errors.push(...page.map(toImportError));
    cursor = toCursor(body);
    // A cursor that comes again would go round for ever.
    if (seen.has(cursor) || seen.size >= maxPages) return { errors, end: 'read', last };
    seen.add(cursor);
  }
}

function toQuery(cursor: string | null): string {
  const query = new URLSearchParams({ 'page[size]': String(pageSize) });
  if (cursor !== null) query.set('page[cursor]', cursor);
  return `?${query.toString()}`;
}

/** Only the cursor is taken from `links.next`: the key never goes to another host, nor to another path. */
function toCursor(body: unknown): string | null {
  const links = isObject(body) ? body.links : undefined;
  const next = isObject(links) ? links.next : undefined;
  if (typeof next !== 'string' || !URL.canParse(next, 'http://localhost')) return null;
  return new URL(next, 'http://localhost').searchParams.get('page[cursor]');
}
