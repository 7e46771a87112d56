import type { Followed, ImportJob, Outcome } from '../envelope.js';
import { isObject, parse, toApiError, toReason, type ApiError } from './api-errors.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath } from './request.js';
import type { Reply } from './transport.js';

export type FollowDeps = { get(path: string): Promise<Reply>; now(): number };

const statuses = ['queued', 'processing', 'complete', 'cancelled'] as const;
const pageSize = 100;

/** One look at a bulk import job and, where it ended with failures, at all pages of its import errors. */
export async function followImport(
  ref: string,
  payloads: readonly Uint8Array[],
  deps: FollowDeps,
): Promise<Followed> {
  const path = `${bulkPath.profiles}/${encodeURIComponent(ref)}`;
  const reply = await deps.get(path);
  if (!reply.ok || reply.status !== 200) return toUnseen(ref, payloads, { reply, now: deps.now() });
  const feedback = toRateFeedback(reply.headers, deps.now());
  const job = toJob(ref, reply.bodyText);
  if (job.status === 'queued' || job.status === 'processing')
    return { job, outcomes: null, retryable: false, feedback };
  const errors: ImportError[] = [];
  if (job.failed !== 0) {
    const failure = await readErrors(`${path}/import-errors?page%5Bsize%5D=${pageSize}`, {
      errors,
      deps,
      most: payloads.length,
    });
    if (failure !== null) return toUnseen(ref, payloads, { reply: failure, now: deps.now() });
  }
  return { job, outcomes: toImportOutcomes(payloads, errors, job), retryable: false, feedback };
}

/** Rejections may help later (5xx, 429, no answer); a job that may not be read, or is gone, never will. */
function toUnseen(
  ref: string,
  payloads: readonly Uint8Array[],
  { reply, now }: { reply: Reply; now: number },
): Followed {
  const job: ImportJob = { id: ref, status: 'unreadable', completed: null, failed: null };
  const feedback = reply.ok ? toRateFeedback(reply.headers, now) : null;
  const isFinal =
    reply.ok && [401, 403, 404, 410].includes(reply.status) && parse(reply.bodyText) !== undefined;
  if (!isFinal) return { job, outcomes: null, retryable: true, feedback };
  // Klaviyo took them; only their result cannot be known.
  return { job, outcomes: payloads.map(() => ({ kind: 'delivered' })), retryable: false, feedback };
}

function toJob(ref: string, bodyText: string): ImportJob {
  const attributes = attributesOf(dataOf(parse(bodyText)));
  const status = statuses.find((each) => each === attributes['status']) ?? 'processing';
  return {
    id: ref,
    status,
    completed: toCount(attributes['completed_count']),
    failed: toCount(attributes['failed_count']),
  };
}

type ImportError = { readonly error: ApiError; readonly identifiers: readonly string[] };
type Pages = { readonly errors: ImportError[]; readonly deps: FollowDeps; readonly most: number };

/** Reads every page into `errors`; returns the reply that broke it off, or null. */
async function readErrors(first: string, { errors, deps, most }: Pages): Promise<Reply | null> {
  const maxPages = Math.ceil(most / pageSize) + 10;
  let path: string | null = first;
  for (let page = 0; page < maxPages && path !== null; page++) {
    const reply = await deps.get(path);
    if (!reply.ok || reply.status !== 200) return reply;
    const body = parse(reply.bodyText);
    const data =
      isObject(body) && Array.isArray(body['data']) ? Array.from<unknown>(body['data']) : [];
    for (const one of data) {
      const attributes = attributesOf(one);
      errors.push({
        error: toApiError(attributes),
        identifiers: toIdentifiers(attributes['original_payload']),
      });
    }
    path = toNext(body);
  }
  return null;
}

/** The path alone is followed: the key never goes to another host. */
function toNext(body: unknown): string | null {
  const links = isObject(body) ? body['links'] : null;
  const next = isObject(links) ? links['next'] : null;
  if (typeof next !== 'string' || next === '') return null;
  const { pathname, search } = new URL(next, 'http://klaviyo.invalid');
  return `${pathname}${search}`;
}

/** An import error carries no index, so it is matched to its payload by any identifier. */
function toImportOutcomes(
  payloads: readonly Uint8Array[],
  errors: readonly ImportError[],
  job: ImportJob,
): readonly Outcome[] {
  const byIdentifier = new Map<string, ApiError[]>();
  for (const { error, identifiers } of errors) {
    for (const identifier of identifiers) {
      byIdentifier.set(identifier, [...(byIdentifier.get(identifier) ?? []), error]);
    }
  }
  return payloads.map((payload): Outcome => {
    const own =
      byIdentifier.size === 0
        ? undefined
        : toIdentifiers(parse(Buffer.from(payload).toString()))
            .map((key) => byIdentifier.get(key))
            .find((found) => found !== undefined);
    if (own !== undefined) {
      const faults = own.map(({ pointer, detail }) => ({ pointer, detail }));
      return {
        kind: 'rejected',
        reason: toReason(
          own,
          { code: 'import_failed', detail: 'the import job failed for this profile' },
          faults,
        ),
      };
    }
    if (job.status === 'cancelled')
      return {
        kind: 'retryable',
        reason: { code: 'import_cancelled', detail: 'Klaviyo cancelled the import job' },
      };
    return { kind: 'delivered' };
  });
}

/** `original_payload` comes as the profile resource or as its bare attributes. */
function toIdentifiers(profile: unknown): readonly string[] {
  if (!isObject(profile)) return [];
  const attributes = isObject(profile['attributes'])
    ? profile['attributes']
    : isObject(profile['data'])
      ? attributesOf(profile['data'])
      : profile;
  const of = (name: string, prefix: string): string[] => {
    const value = attributes[name];
    return typeof value === 'string'
      ? [`${prefix}:${name === 'email' ? value.toLowerCase() : value}`]
      : [];
  };
  return [...of('external_id', 'x'), ...of('email', 'e'), ...of('phone_number', 'p')];
}

const dataOf = (body: unknown): unknown => (isObject(body) ? body['data'] : undefined);

function attributesOf(resource: unknown): Readonly<Record<string, unknown>> {
  const attributes = isObject(resource) ? resource['attributes'] : undefined;
  return isObject(attributes) ? attributes : {};
}

const toCount = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;
