import type { Followed, Imported, ImportJob, Outcome } from '../envelope.js';
import { isObject, parse } from './api-errors.js';
import { toImportError, toImportOutcomes, type ImportError } from './import-outcomes.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath } from './request.js';
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
  if (answered.kind === 'refused') return toUnreadable(ref, imported, feedback);
  const job = answered.kind === 'read' ? toJob(ref, answered.body) : null;
  if (job === null) return { job: toUnknown(ref), outcomes: null, retryable: true, feedback };
  if (job.status === 'queued' || job.status === 'processing') {
    return { job, outcomes: null, retryable: false, feedback };
  }
  if (job.failed === 0) {
    const outcomes = toImportOutcomes(imported, [], job);
    return { job, outcomes, retryable: false, feedback };
  }
  return followFailures({ job, path }, imported, deps);
}

async function followFailures(
  { job, path }: { readonly job: ImportJob; readonly path: string },
  imported: Imported,
  deps: FollowDeps,
): Promise<Followed> {
  const expected = Math.max(job.failed ?? 0, imported.count);
  const maxPages = Math.ceil(expected / pageSize) + sparePages;
  const read = await readErrors(`${path}/import-errors`, maxPages, deps);
  const feedback = read.last.ok ? toRateFeedback(read.last.headers, deps.now()) : null;
  if (read.end === 'lost') return { job, outcomes: null, retryable: true, feedback };
  const outcomes = toImportOutcomes(imported, read.errors, job);
  const ended: ImportJob = read.end === 'refused' ? { ...job, status: 'unreadable' } : job;
  return { job: ended, outcomes, retryable: false, feedback };
}

/** `lost`: worth asking again; `refused`: this key may never read this job, or there is none. */
type Answered =
  | { readonly kind: 'read'; readonly body: unknown }
  | { readonly kind: 'lost' }
  | { readonly kind: 'refused' };

function toAnswered(reply: Reply): Answered {
  if (!reply.ok) return { kind: 'lost' };
  const body = parse(reply.bodyText);
  if (reply.status === 200) return { kind: 'read', body };
  const isTransient = reply.status >= 500 || [408, 421, 425, 429].includes(reply.status);
  // What is no JSON object is not from Klaviyo, so it says nothing about the job.
  return { kind: isTransient || !isObject(body) ? 'lost' : 'refused' };
}

/** Klaviyo took the profiles; only what became of them cannot be known. */
function toUnreadable(ref: string, imported: Imported, feedback: Followed['feedback']): Followed {
  const job: ImportJob = { id: ref, status: 'unreadable', completed: null, failed: null };
  const outcomes = Array<Outcome>(imported.count).fill({ kind: 'delivered' });
  return { job, outcomes, retryable: false, feedback };
}

const toUnknown = (ref: string): ImportJob => ({
  id: ref,
  status: 'queued',
  completed: null,
  failed: null,
});

const endings: Readonly<Record<string, ImportJob['status']>> = {
  processing: 'processing',
  complete: 'complete',
  cancelled: 'cancelled',
};

/** Null where the answer is no import job. A status nobody knows counts as not ended. */
function toJob(ref: string, body: unknown): ImportJob | null {
  const job = isObject(body) ? body.data : undefined;
  const attributes = isObject(job) ? job.attributes : undefined;
  if (!isObject(attributes)) return null;
  const { status } = attributes;
  return {
    id: ref,
    status: (typeof status === 'string' ? endings[status] : undefined) ?? 'queued',
    completed: toCount(attributes.completed_count),
    failed: toCount(attributes.failed_count),
  };
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
    const list = isObject(body) && Array.isArray(body.data) ? body.data : [];
    errors.push(...Array.from<unknown>(list).map(toImportError));
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
