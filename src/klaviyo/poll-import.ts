import type { PollResult, ImportedPayloads } from '../model/destination.js';
import type { ImportJob } from '../model/delivery.js';
import type { Outcome } from '../model/outcome.js';
import { toResource, toResources } from './documents.js';
import {
  pageSize,
  readImportResponse,
  toNextCursor,
  toPageQuery,
  parseImportJob,
  type ImportResponse,
  type ImportJobReader,
  type ParsedImportJob,
} from './import-responses.js';
import { parseImportError, toImportOutcomes, type ImportError } from './import-outcomes.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath, importJobType } from './request.js';
import type { TransportResponse } from './transport.js';

/** A profile may have several errors, so there may be more pages than profiles say. */
const sparePages = 10;

/** One look at a bulk import job and, where it ended with failures, at all pages of its import errors. */
export async function pollImportJob(
  ref: string,
  imported: ImportedPayloads,
  deps: ImportJobReader,
): Promise<PollResult> {
  const path = `${bulkPath.profiles}/${encodeURIComponent(ref)}`;
  const reply = await deps.get(path);
  const feedback = reply.ok ? toRateFeedback(reply.headers, deps.now()) : null;
  const answered = readImportResponse(reply);
  if (answered.kind === 'refused' || answered.kind === 'gone') {
    const job = toUnknown(ref, 'unreadable');
    const outcome = answered.kind === 'refused' ? taken : gone;
    const outcomes = Array<Outcome>(imported.count).fill(outcome);
    return { job, outcomes, retryable: false, feedback };
  }
  const resource = answered.kind === 'read' ? toResource(answered.body, importJobType) : null;
  const seen = parseImportJob(ref, resource);
  if (seen === null) {
    return { job: toUnknown(ref, 'queued'), outcomes: null, retryable: true, feedback };
  }
  const { job, id, total } = seen;
  if (job.status === 'queued' || job.status === 'processing') {
    return { job, outcomes: null, retryable: false, feedback, reportedId: id };
  }
  if (job.failed === 0 && job.completed !== null) {
    const outcomes = toImportOutcomes(imported, [], { ...job, total });
    return { job, outcomes, retryable: false, feedback, reportedId: id };
  }
  const followed = await followFailures({ job, total, path }, imported, deps);
  return { ...followed, reportedId: id };
}

/** Klaviyo took the profiles, and this key may never read what became of them. */
const taken: Outcome = { kind: 'delivered' };
/** Klaviyo keeps a job for 7 days. What became of the profiles is unknown, and an import may be repeated. */
const gone: Outcome = {
  kind: 'retryable',
  reason: { code: 'import_gone', detail: 'Klaviyo does not have the import job any more' },
};

async function followFailures(
  { job, total, path }: Pick<ParsedImportJob, 'job' | 'total'> & { readonly path: string },
  imported: ImportedPayloads,
  deps: ImportJobReader,
): Promise<PollResult> {
  const expected = Math.max(job.failed ?? 0, imported.count);
  const maxPages = Math.ceil(expected / pageSize) + sparePages;
  const read = await readErrors(`${path}/import-errors`, maxPages, deps);
  const feedback = read.last.ok ? toRateFeedback(read.last.headers, deps.now()) : null;
  if (read.end === 'lost') return { job, outcomes: null, retryable: true, feedback };
  const outcomes = toImportOutcomes(imported, read.errors, { ...job, total });
  const ended: ImportJob = read.end === 'read' ? job : { ...job, status: 'unreadable' };
  return { job: ended, outcomes, retryable: false, feedback };
}

const toUnknown = (ref: string, status: ImportJob['status']): ImportJob => ({
  id: ref,
  status,
  completed: null,
  failed: null,
});

type ErrorsRead = {
  readonly errors: readonly ImportError[];
  /** `read`: as far as there are pages, or the bound. */
  readonly end: ImportResponse['kind'];
  readonly last: TransportResponse;
};

async function readErrors(
  path: string,
  maxPages: number,
  deps: ImportJobReader,
): Promise<ErrorsRead> {
  const errors: ImportError[] = [];
  const seen = new Set<string | null>([null]);
  let cursor: string | null = null;
  for (;;) {
    const last: TransportResponse = await deps.get(path + toPageQuery(cursor));
    const answered = readImportResponse(last);
    if (answered.kind !== 'read') return { errors, end: answered.kind, last };
    const { body } = answered;
    const page = toResources(body, 'import-error');
    if (page === null) return { errors, end: 'lost', last };
    errors.push(...page.map(parseImportError));
    cursor = toNextCursor(body);
    // A cursor that comes again would go round for ever.
    if (seen.has(cursor) || seen.size >= maxPages) return { errors, end: 'read', last };
    seen.add(cursor);
  }
}
