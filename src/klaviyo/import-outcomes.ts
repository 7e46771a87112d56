import type { ImportedPayloads } from '../model/destination.js';
import type { ImportJob } from '../model/delivery.js';
import type { Outcome, Reason } from '../model/outcome.js';
import {
  isRecord,
  tryParseJson,
  parseApiError,
  locateItem,
  toKlaviyoReason,
  type ApiError,
} from './api-errors.js';

/** An error of an import job, and by what its profile was known. */
export type ImportError = { readonly error: ApiError; readonly identifiers: readonly string[] };

/** An import job that is complete or cancelled; `total` is Klaviyo's own count of its profiles. */
export type EndedJob = Pick<ImportJob, 'status' | 'completed' | 'failed'> & {
  readonly total: number;
};

/** Reads an `import-error` resource of Klaviyo's OpenAPI, as far as it is one. Pure; never throws. */
export function parseImportError(resource: unknown): ImportError {
  const found = isRecord(resource) ? resource.attributes : undefined;
  const attributes = isRecord(found) ? found : {};
  return {
    error: parseApiError(attributes),
    identifiers: toIdentifiers(attributes.original_payload),
  };
}

/**
 * What an ended import job did to each of its payloads, in order. Pure. A profile that an error
 * names is rejected. Where Klaviyo counts more failures than its errors name, nobody knows whose they are:
 * if they are all that is left, all of those failed; else what is left goes again, in ever smaller
 * company, until they are. An import is an upsert, so that costs requests and changes nothing.
 */
export function toImportOutcomes(
  imported: ImportedPayloads,
  errors: readonly ImportError[],
  job: EndedJob,
): readonly Outcome[] {
  const { count } = imported;
  const { named, strays } = match(imported, errors);
  const failed = Math.min(count, job.failed ?? named.size + strays.length);
  const unnamed = Math.max(0, failed - named.size);
  const isWhole = isComplete(job) || (job.completed ?? 0) + failed >= count;
  const other = toOther({ unnamed, left: count - named.size, strays, isWhole }, job);
  return Array.from({ length: count }, (_, index): Outcome => {
    const own = named.get(index);
    return own === undefined ? other : { kind: 'rejected', reason: toFailed(own) };
  });
}

/** Counts of a job that say less than its status are not believed; those that Klaviyo leaves out say nothing. */
function isComplete({ status, total, completed, failed }: EndedJob): boolean {
  if (status !== 'complete' || total === 0) return false;
  return completed === null || failed === null || completed + failed >= total;
}

type Left = {
  /** Failures that no error names. */
  readonly unnamed: number;
  /** Payloads that no error names. */
  readonly left: number;
  readonly strays: readonly ApiError[];
  /** Klaviyo went through all of the job. */
  readonly isWhole: boolean;
};

/** What became of every payload that no error names. */
function toOther({ unnamed, left, strays, isWhole }: Left, { status }: EndedJob): Outcome {
  if (unnamed >= left && unnamed > 0) return { kind: 'rejected', reason: toFailed(strays) };
  if (unnamed > 0) {
    const detail = `${unnamed} profiles failed in the import job, and nobody knows which`;
    return {
      kind: 'retryable',
      reason: toKlaviyoReason(strays, { code: 'import_unnamed', detail }),
    };
  }
  if (isWhole) return { kind: 'delivered' };
  if (status === 'complete') {
    const detail = 'the import job is complete, and its counts are less than its profiles';
    return { kind: 'retryable', reason: { code: 'import_incomplete', detail } };
  }
  const detail = 'Klaviyo cancelled the import job before it was done';
  return { kind: 'retryable', reason: { code: 'import_cancelled', detail } };
}

function toFailed(errors: readonly ApiError[]): Reason {
  const otherwise = { code: 'import_failed', detail: 'the import job failed for this profile' };
  const faults = errors.map(({ pointer, detail }) => ({
    pointer: toEntryPointer(pointer),
    detail,
  }));
  return toKlaviyoReason(errors, otherwise, faults);
}

/** From the profile's resource on, as in the dead letter: `/data/attributes/email` → `/attributes/email`. */
function toEntryPointer(pointer: string): string {
  return locateItem('profiles', pointer)?.pointer ?? pointer.replace(/^\/data(?:\/$|(?=\/|$))/, '');
}

type Matched = {
  /** By the payload's index. */
  readonly named: ReadonlyMap<number, readonly ApiError[]>;
  /** Errors that name none of the payloads. */
  readonly strays: readonly ApiError[];
};

/** Import errors carry no index (Klaviyo's OpenAPI), so they are matched by what identifies the profile. */
function match({ payloads }: ImportedPayloads, errors: readonly ImportError[]): Matched {
  const named = new Map<number, ApiError[]>();
  const strays: ApiError[] = [];
  const owners = errors.length === 0 ? new Map<string, number[]>() : toOwners(payloads());
  for (const { error, identifiers } of errors) {
    const index = toMostShared(identifiers.flatMap((identifier) => owners.get(identifier) ?? []));
    const before = index === null ? undefined : named.get(index);
    if (index === null) strays.push(error);
    else if (before === undefined) named.set(index, [error]);
    else before.push(error);
  }
  return { named, strays };
}

const decoder = new TextDecoder();

/** Which payloads carry an identifier. */
function toOwners(payloads: readonly Uint8Array[]): Map<string, number[]> {
  const owners = new Map<string, number[]>();
  payloads.forEach((payload, index) => {
    for (const identifier of toIdentifiers(tryParseJson(decoder.decode(payload)))) {
      const before = owners.get(identifier);
      if (before === undefined) owners.set(identifier, [index]);
      else before.push(index);
    }
  });
  return owners;
}

/** The payload with the most identifiers in common; of several, the first. */
function toMostShared(indexes: readonly number[]): number | null {
  const counts = new Map<number, number>();
  for (const index of indexes) counts.set(index, (counts.get(index) ?? 0) + 1);
  let best: number | null = null;
  for (const [index, count] of counts) {
    if (best === null || count > (counts.get(best) ?? 0)) best = index;
  }
  return best;
}

/**
 * Of a profile as its resource, as a document around it, as its bare attributes, or as the text of
 * any of them: what `original_payload` holds exactly was never recorded.
 */
function toIdentifiers(profile: unknown, depth = 0): readonly string[] {
  if (typeof profile === 'string' && depth === 0) return toIdentifiers(tryParseJson(profile), 1);
  if (!isRecord(profile)) return [];
  const inner = profile.data ?? profile.attributes;
  if (isRecord(inner) && depth < 3) return toIdentifiers(inner, depth + 1);
  const { email, phone_number: phone, external_id: externalId } = profile;
  return [
    // Klaviyo finds a person by an e-mail address in any case.
    ...(typeof email === 'string' ? [`e:${email.trim().toLowerCase()}`] : []),
    ...(typeof phone === 'string' ? [`p:${phone.replace(/[^+\d]/g, '')}`] : []),
    ...(typeof externalId === 'string' ? [`x:${externalId}`] : []),
  ];
}
