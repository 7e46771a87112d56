import type { Outcome, Reason } from '../model/outcome.js';
import {
  wrongEndpointStatuses,
  isAboutList,
  isFromWrongEndpoint,
  hasStatus,
  isSuccess,
  isDocumentedSuccess,
  isSuccessWithoutJob,
  describeResponse,
  isAboutWholeRevision,
  toImportJobId,
  parseResponse,
  type KlaviyoResponse,
  type ParsedResponse,
} from './success.js';
import { toKlaviyoReason } from './api-errors.js';
import { maxWaitMs, toRateFeedback } from './rate-headers.js';

/**
 * What an answer of a bulk endpoint means: the first row that applies counts. Pure; one outcome an
 * entry, in order; never throws, whatever the body is. docs/reference/klaviyo-responses.md gives each row's reasons.
 */
export function toOutcomes(answer: KlaviyoResponse): readonly Outcome[] {
  const seen = parseResponse(answer);
  const row = rows.find(({ applies }) => applies(seen)) ?? lastRow;
  return row.outcomes(seen);
}

type Row = {
  readonly name: string;
  readonly applies: (seen: ParsedResponse) => boolean;
  readonly outcomes: (seen: ParsedResponse) => readonly Outcome[];
};

const rows: readonly Row[] = [
  row('taken', isDocumentedSuccess, toTaken),
  row('no_job', isSuccessWithoutJob, all(toJobless)),
  row('throttled', (a) => a.status === 429, all(toThrottled)),
  row('unavailable', (a) => a.status >= 500 || hasStatus(a, 408, 421, 425), all(toRetryable)),
  row('too_large', (a) => a.status === 413, all(toTooLarge)),
  row('auth', (a) => hasStatus(a, 401, 402, 407), all(toBlocked)),
  row(
    'edge',
    (a) => isSuccess(a.status) || (!a.isFromKlaviyo && !isFromWrongEndpoint(a)),
    all(toRetryable),
  ),
  row('scope', (a) => a.status === 403, all(toBlocked)),
  row(
    'revision',
    (a) => hasStatus(a, 400, ...wrongEndpointStatuses) && isAboutWholeRevision(a),
    all(toBlocked),
  ),
  row('endpoint', isFromWrongEndpoint, all(toEndpoint)),
  row('list', (a) => a.errorsByItem.size === 0 && a.errors.some(isAboutList), all(toBlocked)),
  row('named', (a) => a.errorsByItem.size > 0, toNamed),
  row('unnamed', (a) => a.count > 1, all(toUnnamed)),
];
const lastRow = row('alone', () => true, all(toRejected));

/** For the test that compares them with docs/reference/klaviyo-responses.md. */
export const rowNames: readonly string[] = [...rows, lastRow].map(({ name }) => name);

function row(
  name: string,
  applies: Row['applies'],
  outcomes: (seen: ParsedResponse, code: string) => readonly Outcome[],
): Row {
  return { name, applies, outcomes: (seen) => outcomes(seen, name) };
}

/** One outcome for every entry. */
function all(toOutcome: (seen: ParsedResponse, code: string) => Outcome) {
  return (seen: ParsedResponse, code: string): readonly Outcome[] => {
    const outcome = toOutcome(seen, code);
    return Array.from({ length: seen.count }, () => outcome);
  };
}

/** For events the 202 is all there is to know; what became of profiles is known once their job ends. */
function toTaken({ lane, bodyText, count }: ParsedResponse): readonly Outcome[] {
  const ref = lane === 'profiles' ? toImportJobId(bodyText) : null;
  const outcome: Outcome = ref === null ? { kind: 'delivered' } : { kind: 'pending', ref };
  return Array.from({ length: count }, () => outcome);
}

function toJobless({ status }: ParsedResponse, code: string): Outcome {
  const detail = `Klaviyo answered ${status} without an import job`;
  return { kind: 'retryable', reason: { code, detail, status } };
}

/** "0 seconds" was seen, and a retry before its time only gets another 429. */
const minThrottleMs = 1000;

function toThrottled(seen: ParsedResponse, code: string): Outcome {
  const [, seconds = '0'] = /available in (\d{1,6}) second/i.exec(seen.bodyText) ?? [];
  const saidMs = toRateFeedback(seen.headers, seen.now).retryAfterMs ?? Number(seconds) * 1000;
  const afterMs = Math.min(maxWaitMs, Math.max(minThrottleMs, saidMs));
  return { kind: 'throttled', afterMs, reason: toReasonOf(seen, code) };
}

function toRetryable(seen: ParsedResponse, code: string): Outcome {
  const { retryAfterMs } = toRateFeedback(seen.headers, seen.now);
  const reason = toReasonOf(seen, code);
  return {
    kind: 'retryable',
    reason,
    ...(retryAfterMs !== null && { afterMs: retryAfterMs }),
    ...(mayBeContent(seen, retryAfterMs) && { mayBeContent: true }),
  };
}

/** A wait that is asked for, or a status that says so, is an overload. A page may be a firewall's, for one record. */
function mayBeContent(seen: ParsedResponse, retryAfterMs: number | null): boolean {
  return (retryAfterMs === null || seen.status < 500) && !hasStatus(seen, 421, 425, 529);
}

function toBlocked(seen: ParsedResponse, code: string): Extract<Outcome, { kind: 'blocked' }> {
  return { kind: 'blocked', reason: toReasonOf(seen, code), advice: adviceOn[code] ?? code };
}

/** A firewall may answer so to one record; Klaviyo itself would answer in JSON. */
function toEndpoint(seen: ParsedResponse, code: string): Outcome {
  const outcome = toBlocked(seen, code);
  return seen.isFromKlaviyo ? outcome : { ...outcome, mayBeContent: true };
}

/** What a person has to do, by the row's name; begins with what is wrong. */
const adviceOn: Readonly<Record<string, string>> = {
  auth: 'unauthorized: check KLAVIYO_API_KEY (wrong, revoked, or of a closed account) and the credentials of a proxy',
  scope:
    'forbidden: give the key its scopes (events:write, profiles:write, lists:write, profiles:read, lists:read)',
  revision: 'revision: set KLAVIYO_REVISION to auto, or to one that Klaviyo serves',
  endpoint: 'endpoint: check KLAVIYO_BASE_URL, there is no such API at this address',
  list: 'list: the list that the profiles are to join is wrong',
};

function toTooLarge(seen: ParsedResponse, code: string): Outcome {
  const reason = toReasonOf(seen, code);
  if (seen.count === 1) return { kind: 'rejected', reason };
  return { kind: 'unattributed', method: 'size', reason };
}

/** Those that the errors name will never be taken; the others go again without them. */
function toNamed(seen: ParsedResponse): readonly Outcome[] {
  const reason = toReasonOf(seen, 'rejected');
  const innocent: Outcome = { kind: 'unattributed', method: 'pointer', reason };
  return Array.from({ length: seen.count }, (_, index): Outcome => {
    const own = seen.errorsByItem.get(index);
    if (own === undefined) return innocent;
    const faults = own.map(({ error, location: place }) => ({
      pointer: place.pointer,
      detail: error.detail,
    }));
    const errors = own.map(({ error }) => error);
    return {
      kind: 'rejected',
      reason: toKlaviyoReason(errors, { ...reason, detail: describeResponse(seen) }, faults),
    };
  });
}

function toUnnamed(seen: ParsedResponse): Outcome {
  return { kind: 'unattributed', method: 'bisect', reason: toReasonOf(seen, 'rejected') };
}

function toRejected(seen: ParsedResponse): Outcome {
  return { kind: 'rejected', reason: toReasonOf(seen, 'rejected') };
}

function toReasonOf(seen: ParsedResponse, code: string): Reason {
  return toKlaviyoReason(seen.errors, {
    code,
    detail: describeResponse(seen),
    status: seen.status,
  });
}
