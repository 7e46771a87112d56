import type { ImportJob } from '../model/delivery.js';
import type { ImportedPayloads } from '../model/destination.js';
import type { Outcome, Reason } from '../model/outcome.js';
import {
  isRecord,
  parseApiError,
  toKlaviyoReason,
  tryParseJson,
  type ApiError,
} from './documents.js';
import { profiles } from './lanes/profiles.js';

/** One error of an import job, with the identifiers of the profile it is about. */
export type ImportError = { readonly error: ApiError; readonly identifiers: readonly string[] };

/** An import job that is complete or cancelled. `total` is Klaviyo's own count of its profiles. */
export type EndedJob = Pick<ImportJob, 'status' | 'completed' | 'failed'> & {
  readonly total: number;
};

/** Reads an `import-error` resource of Klaviyo's OpenAPI. Pure; never throws. */
export function parseImportError(resource: unknown): ImportError {
  const found = isRecord(resource) ? resource.attributes : undefined;
  const attributes = isRecord(found) ? found : {};
  return {
    error: parseApiError(attributes),
    identifiers: collectIdentifiers(attributes.original_payload),
  };
}

/**
 * Returns what an ended import job did to each of its payloads, in order. Pure.
 * - A profile that an import error names is rejected.
 * - Klaviyo may count more failures than its errors name. If as many profiles are left as failures, all
 *   of these failed. Otherwise the rest is sent again in smaller and smaller batches, until that is the
 *   case. An import is an upsert, so a repeat costs requests and changes nothing.
 */
export function toImportOutcomes(
  imported: ImportedPayloads,
  errors: readonly ImportError[],
  job: EndedJob,
): readonly Outcome[] {
  const { count } = imported;
  const { byItem, unmatched } = matchErrors(imported, errors);
  const failed = Math.min(count, job.failed ?? byItem.size + unmatched.length);
  const unnamed = Math.max(0, failed - byItem.size);
  const isFinished = hasPlausibleCounts(job) || (job.completed ?? 0) + failed >= count;
  const rest = { unnamed, left: count - byItem.size, unmatched, isFinished };
  const other = toUnnamedOutcome(rest, job);
  return Array.from({ length: count }, (_, index): Outcome => {
    const own = byItem.get(index);
    return own === undefined ? other : { kind: 'rejected', reason: toFailedReason(own) };
  });
}

/**
 * Returns what an ended job did that counts its elements and names none, such as a change of suppressions.
 * It skips an address that is in the requested state already, so a complete job is a success. The change
 * can be made again after a job that was cancelled. Pure.
 */
export function toCountedOutcomes(
  count: number,
  { status }: Pick<ImportJob, 'status'>,
): readonly Outcome[] {
  return Array<Outcome>(count).fill(status === 'complete' ? { kind: 'delivered' } : cancelled);
}

/** A job whose counts do not add up is not trusted. A count that Klaviyo leaves out proves nothing. */
function hasPlausibleCounts({ status, total, completed, failed }: EndedJob): boolean {
  if (status !== 'complete' || total === 0) return false;
  return completed === null || failed === null || completed + failed >= total;
}

type Rest = {
  /** Failures that no error names. */
  readonly unnamed: number;
  /** Payloads that no error names. */
  readonly left: number;
  readonly unmatched: readonly ApiError[];
  /** True if Klaviyo processed the whole job. */
  readonly isFinished: boolean;
};

const cancelled: Outcome = {
  kind: 'retryable',
  reason: { code: 'import_cancelled', detail: 'Klaviyo cancelled the job before it was done' },
};

/** The outcome of every payload that no error names. It is not used if `left` is 0. */
function toUnnamedOutcome(
  { unnamed, left, unmatched, isFinished }: Rest,
  { status }: EndedJob,
): Outcome {
  if (unnamed >= left) {
    return { kind: 'rejected', reason: toFailedReason(unmatched) };
  }
  if (unnamed > 0) {
    const detail = `${unnamed} profiles failed in the import job, and nobody knows which`;
    const reason = toKlaviyoReason(unmatched, { code: 'import_unnamed', detail });
    return { kind: 'retryable', reason };
  }
  if (isFinished) return { kind: 'delivered' };
  if (status === 'complete') {
    const detail = 'the import job is complete, and its counts are less than its profiles';
    return { kind: 'retryable', reason: { code: 'import_incomplete', detail } };
  }
  return cancelled;
}

function toFailedReason(errors: readonly ApiError[]): Reason {
  const fallback = { code: 'import_failed', detail: 'the import job failed for this profile' };
  const faults = errors.map(({ pointer, detail }) => ({
    pointer: toProfilePointer(pointer),
    detail,
  }));
  return toKlaviyoReason(errors, fallback, faults);
}

/** A pointer into the profile, as a dead letter has it: `/data/attributes/email` → `/attributes/email`. */
function toProfilePointer(pointer: string): string {
  return profiles.body.locate(pointer)?.pointer ?? pointer.replace(/^\/data(?:\/$|(?=\/|$))/, '');
}

type MatchedErrors = {
  /** By the payload's index. */
  readonly byItem: ReadonlyMap<number, readonly ApiError[]>;
  /** Errors that match no payload. */
  readonly unmatched: readonly ApiError[];
};

/** Import errors have no index (Klaviyo's OpenAPI), so they are matched by the profile's identifiers. */
function matchErrors(
  { payloads }: ImportedPayloads,
  errors: readonly ImportError[],
): MatchedErrors {
  const byItem = new Map<number, ApiError[]>();
  const unmatched: ApiError[] = [];
  const owners = errors.length === 0 ? new Map<string, number[]>() : indexIdentifiers(payloads());
  for (const { error, identifiers } of errors) {
    const index = findMostFrequent(identifiers.flatMap((each) => owners.get(each) ?? []));
    if (index === null) {
      unmatched.push(error);
      continue;
    }
    const before = byItem.get(index);
    if (before === undefined) byItem.set(index, [error]);
    else before.push(error);
  }
  return { byItem, unmatched };
}

const utf8 = new TextDecoder();

/** Maps each identifier to the indexes of the payloads that have it. */
function indexIdentifiers(payloads: readonly Uint8Array[]): Map<string, number[]> {
  const owners = new Map<string, number[]>();
  payloads.forEach((payload, index) => {
    for (const identifier of collectIdentifiers(tryParseJson(utf8.decode(payload)))) {
      const before = owners.get(identifier);
      if (before === undefined) owners.set(identifier, [index]);
      else before.push(index);
    }
  });
  return owners;
}

/** The index that occurs most often; the first of several; null for an empty list. */
function findMostFrequent(indexes: readonly number[]): number | null {
  const counts = new Map<number, number>();
  for (const index of indexes) counts.set(index, (counts.get(index) ?? 0) + 1);
  let best: number | null = null;
  let most = 0;
  for (const [index, count] of counts) {
    if (count <= most) continue;
    best = index;
    most = count;
  }
  return best;
}

/**
 * The identifiers of a profile. The profile may be a resource, a document around it, its attributes
 * alone, or the JSON text of any of these: no real `original_payload` was ever recorded.
 */
function collectIdentifiers(profile: unknown, depth = 0): readonly string[] {
  if (typeof profile === 'string' && depth === 0)
    return collectIdentifiers(tryParseJson(profile), 1);
  if (!isRecord(profile)) return [];
  const inner = profile.data ?? profile.attributes;
  if (isRecord(inner) && depth < 3) return collectIdentifiers(inner, depth + 1);
  const { email, phone_number: phone, external_id: externalId } = profile;
  return [
    // Klaviyo compares e-mail addresses without regard to case.
    ...(typeof email === 'string' ? [`e:${email.trim().toLowerCase()}`] : []),
    ...(typeof phone === 'string' ? [`p:${phone.replace(/[^+\d]/g, '')}`] : []),
    ...(typeof externalId === 'string' ? [`x:${externalId}`] : []),
  ];
}
