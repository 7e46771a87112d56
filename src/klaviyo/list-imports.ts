import type { ImportJob } from '../model/delivery.js';
import type { ListedImportJobs } from '../model/destination.js';
import { toResources } from './documents.js';
import {
  readImportResponse,
  toNextCursor,
  toPageQuery,
  parseImportJob,
  type ImportJobReader,
} from './import-responses.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath, importJobType } from './request.js';

/**
 * By Klaviyo's OpenAPI files: `status` is the only field, `any` and `equals` its operators, and
 * `queued`, `processing` and `complete` its values. A job that was cancelled is in no such list.
 */
const query = { filter: 'any(status,["queued","processing"])', sort: '-created_at' } as const;

/** Other integrations of the account may have thousands of open jobs. */
const maxPages = 10;

/** Which of these import jobs Klaviyo's list shows as open. Other jobs of the account are ignored. */
export async function listImportJobs(
  refs: ReadonlySet<string>,
  deps: ImportJobReader,
): Promise<ListedImportJobs> {
  const open = new Map<string, ImportJob>();
  const seen = new Set<string>();
  let cursor: string | null = null;
  for (let requests = 1; ; requests++) {
    const reply = await deps.get(bulkPath.profiles + toPageQuery(cursor, query));
    const feedback = reply.ok ? toRateFeedback(reply.headers, deps.now()) : null;
    const listed = { requests, feedback };
    const answered = readImportResponse(reply);
    const page = answered.kind === 'read' ? toResources(answered.body, importJobType) : null;
    if (answered.kind !== 'read' || page === null) {
      return { ...listed, open: [...open.values()], end: 'failed' };
    }
    for (const resource of page) {
      const { id } = resource;
      if (typeof id !== 'string' || !refs.has(id)) continue;
      const job = toOpenJob(parseImportJob(id, resource));
      if (job !== null) open.set(id, job);
    }
    const missing = refs.size - open.size;
    cursor = toNextCursor(answered.body);
    if (missing === 0 || cursor === null) {
      return { ...listed, open: [...open.values()], end: 'complete' };
    }
    // To ask for each of the missing jobs costs no more. A cursor that comes again would go round for ever.
    if (requests >= Math.min(missing, maxPages) || seen.has(cursor)) {
      return { ...listed, open: [...open.values()], end: 'partial' };
    }
    seen.add(cursor);
  }
}

/** Null where the list does not say in so many words that the job is open. */
function toOpenJob(seen: ReturnType<typeof parseImportJob>): ImportJob | null {
  const { job, isKnown } = seen ?? {};
  const isOpen = job?.status === 'queued' || job?.status === 'processing';
  return isOpen && isKnown === true ? job : null;
}
