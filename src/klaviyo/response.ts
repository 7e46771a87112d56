import { laneTraits, type Lane } from '../model/lane.js';
import type { Outcome, Reason } from '../model/outcome.js';
import {
  isAboutRevision,
  isDocument,
  isErrorDocument,
  parseApiErrors,
  toKlaviyoReason,
  toResource,
  tryParseJson,
  type ApiError,
} from './documents.js';
import { maxWaitMs, toHeaderText, toRateFeedback, type Headers } from './rate-headers.js';
import type { ElementLocation } from './lanes/lane.js';
import { getLaneApi, neededScopes } from './lanes/list.js';
import type { FailureCode, TransportFailure, TransportResponse } from './transport.js';

/**
 * THE TABLE OF RESPONSES: what a response to a bulk request means for the entries of the request.
 *
 * `responseTable` below has one row for each kind of response. The first row that applies decides. A row
 * turns the response into one outcome for each entry. The delivery half acts on the outcome; it decides
 * about the lane in `delivery/lane-state.ts` and about the envelope in `delivery/judge.ts`:
 *
 * | outcome      | example         | the lane                              | the envelope                      |
 * |--------------|-----------------|---------------------------------------|-----------------------------------|
 * | delivered    | 202             | ends its pauses                       | acknowledged                      |
 * | pending      | 202 with a job  | ends its pauses                       | waits; the job is polled          |
 * | throttled    | 429             | pauses for `Retry-After` (1 s to 1 h) | sent again; counts no attempt     |
 * | retryable    | 503, no response| pauses after 3 failures (`outage`)    | sent again after a backoff        |
 * | blocked      | 401, 403        | pauses and probes (`blocked`)         | sent again; counts no attempt     |
 * | unattributed | 400, 413        | goes on                               | sent again in a smaller batch     |
 * | rejected     | 400 for 1 entry | goes on                               | becomes a dead letter             |
 *
 * A `retryable` or `blocked` outcome with `mayBeContent` may have been caused by one record of the batch;
 * `delivery/isolation.ts` then halves the batch. If Klaviyo rejects everything for one reason,
 * `delivery/uniform-rejections.ts` keeps the envelopes instead.
 *
 * docs/reference/klaviyo-responses.md gives the reasons for each row; a test compares its rows with this table.
 */

/** A response to a bulk request with `count` entries. */
export type KlaviyoResponse = {
  readonly lane: Lane;
  readonly count: number;
  /** True if this is the response to a look-up (look-up.ts). It never counts as the success of the request itself. */
  readonly isLookUp?: boolean;
  readonly status: number;
  readonly headers: Headers;
  readonly bodyText: string;
  /** False if `bodyText` was cut off or cannot be decoded. */
  readonly isWhole: boolean;
  /** Epoch ms, for a Retry-After that is a date. */
  readonly now: number;
  /** Klaviyo retired the revision of the request; later requests use this one. */
  readonly movedTo?: string;
};

/** A response with everything that the table needs to know about it. */
type ParsedResponse = KlaviyoResponse & {
  /** False for a response of a proxy or of Cloudflare: Klaviyo's bodies are JSON. */
  readonly isFromKlaviyo: boolean;
  readonly isPage: boolean;
  readonly errors: readonly ApiError[];
  /** The errors that name an entry of the request, by the index of the entry. */
  readonly errorsByItem: ReadonlyMap<number, readonly ItemError[]>;
};

type ItemError = { readonly error: ApiError; readonly location: ElementLocation };

/** `code` is the name of the row; most rows use it as the code of the reason. */
type Row = { readonly name: string; readonly applies: (response: ParsedResponse) => boolean } & (
  | { readonly outcome: (response: ParsedResponse, code: string) => Outcome }
  | { readonly outcomes: (response: ParsedResponse) => readonly Outcome[] }
);

/** The statuses of a wrong address, method or media type. */
export const wrongEndpointStatuses = [404, 405, 406, 410, 415] as const;

const responseTable: readonly Row[] = [
  // Klaviyo retired the revision and recorded nothing: send again under the next revision, at once.
  { name: 'revision_moved', applies: hasMovedRevision, outcome: toMovedOutcome },
  // Klaviyo's documented success.
  { name: 'taken', applies: isAccepted, outcome: toAcceptedOutcome },
  // 202 without the job that the lane must have: nothing can be learnt about it, so send again.
  { name: 'no_job', applies: isSuccessWithoutJob, outcome: toJoblessOutcome },
  // The account exceeded a rate limit: pause the lane for Retry-After; no attempt is counted.
  { name: 'throttled', applies: ({ status }) => status === 429, outcome: toThrottled },
  // Klaviyo, or a server in front of it, failed: send again.
  {
    name: 'unavailable',
    applies: (response) => response.status >= 500 || hasStatus(response, 408, 421, 425),
    outcome: toRetryable,
  },
  // The body is too large: halve the batch.
  { name: 'too_large', applies: ({ status }) => status === 413, outcome: toTooLarge },
  // The key or the credentials of a proxy are wrong: pause the lane until somebody corrects them.
  { name: 'auth', applies: (r) => hasStatus(r, 401, 402, 407), outcome: toBlocked },
  // Not a response of Klaviyo: a proxy, a firewall, a captive portal. Send again.
  {
    name: 'edge',
    applies: (response) =>
      isSuccessStatus(response.status) ||
      (!response.isFromKlaviyo && !isFromWrongEndpoint(response)),
    outcome: toRetryable,
  },
  // The key lacks a scope: pause the lane.
  { name: 'scope', applies: ({ status }) => status === 403, outcome: toBlocked },
  // Klaviyo does not serve this revision: pause the lane.
  {
    name: 'revision',
    applies: (response) =>
      hasStatus(response, 400, ...wrongEndpointStatuses) &&
      response.errorsByItem.size === 0 &&
      response.errors.some(isAboutRevision),
    outcome: toBlocked,
  },
  // The list of a request whose envelopes share it is wrong: these envelopes become dead letters.
  {
    name: 'group_list',
    applies: (response) =>
      laneTraits[response.lane].isGrouped === true &&
      hasStatus(response, 400, 404) &&
      response.errorsByItem.size === 0 &&
      (response.errors.some(isAboutList) || isAboutPath(response)),
    outcome: toRejected,
  },
  // There is no such endpoint, or a redirect: the base URL is wrong. Pause the lane.
  {
    name: 'endpoint',
    applies: (response) => isFromWrongEndpoint(response) && !isAboutPath(response),
    outcome: toWrongEndpoint,
  },
  // The list that the profiles are added to is wrong: pause the lane.
  {
    name: 'list',
    applies: ({ errors, errorsByItem }) => errorsByItem.size === 0 && errors.some(isAboutList),
    outcome: toBlocked,
  },
  // The identifiers of a profile belong to different profiles: it becomes a dead letter.
  {
    name: 'duplicate',
    applies: (response) =>
      response.status === 409 &&
      getLaneApi(response.lane).success === 'resource' &&
      response.errors.some(({ duplicateId }) => duplicateId !== ''),
    outcome: toDuplicate,
  },
  // Klaviyo names the bad entries: reject these, and send the others again without them.
  {
    name: 'named',
    applies: ({ errorsByItem }) => errorsByItem.size > 0,
    outcomes: toNamedOutcomes,
  },
  // Klaviyo names no entry: halve the batch.
  { name: 'unnamed', applies: ({ count }) => count > 1, outcome: toUnattributed },
];

/** Klaviyo rejects a request with one entry: the entry becomes a dead letter. */
const lastRow: Row = { name: 'alone', applies: () => true, outcome: toRejected };

/** For the test that compares the table with docs/reference/klaviyo-responses.md. */
export const rowNames: readonly string[] = [...responseTable, lastRow].map(({ name }) => name);

/**
 * Returns one outcome for each entry of the request, in order. Pure; never throws, whatever the body is.
 */
export function toOutcomes(response: KlaviyoResponse): readonly Outcome[] {
  const parsed = parseResponse(response);
  const row = responseTable.find(({ applies }) => applies(parsed)) ?? lastRow;
  if ('outcomes' in row) return row.outcomes(parsed);
  return Array<Outcome>(parsed.count).fill(row.outcome(parsed, row.name));
}

/** The same for a request that may have no response. */
export const toRequestOutcomes = (
  response: TransportResponse,
  request: Pick<KlaviyoResponse, 'lane' | 'count' | 'now' | 'isLookUp'>,
): readonly Outcome[] =>
  response.ok
    ? toOutcomes({ ...response, ...request })
    : Array<Outcome>(request.count).fill(toFailureOutcome(response));

/**
 * The outcome of a request without a complete response. Sending it again is safe: events carry their
 * unique_id, and an import writes the same values once more. A 202 for events that broke off is no
 * success either, because only the end of the body shows that it is empty.
 */
export function toFailureOutcome({ status, code, detail }: TransportFailure): Outcome {
  const reason = { code, detail, ...(status !== null && { status }) };
  // Only an operator can correct the credentials.
  if (code === 'proxy_auth') return { kind: 'blocked', reason, advice: proxyAdvice };
  return { kind: 'retryable', reason, ...(contentFailures.has(code) && { mayBeContent: true }) };
}

const proxyAdvice = 'proxy: correct the user and the password in HTTPS_PROXY';

/** Klaviyo was reached, so a record of the request may have caused the failure. */
const contentFailures: ReadonlySet<FailureCode> = new Set([
  'timeout',
  'reset',
  'protocol',
  'network',
]);

function parseResponse(response: KlaviyoResponse): ParsedResponse {
  const { headers, bodyText, status, lane, count } = response;
  const { body } = getLaneApi(lane);
  const isPage =
    /html/i.test(toHeaderText(headers['content-type']) ?? '') || /^\s*</.test(bodyText);
  const isFromKlaviyo = !isPage && /^\s*[[{]/.test(bodyText);
  const errors = isFromKlaviyo && !isSuccessStatus(status) ? parseApiErrors(bodyText) : [];
  const errorsByItem = new Map<number, ItemError[]>();
  for (const error of errors) {
    const location = body.locate(error.pointer);
    if (location === null || location.index >= count || isAboutDuplicateId(error)) continue;
    const before = errorsByItem.get(location.index);
    if (before === undefined) errorsByItem.set(location.index, [{ error, location }]);
    else before.push({ error, location });
  }
  return { ...response, isPage, isFromKlaviyo, errors, errorsByItem };
}

const isSuccessStatus = (status: number): boolean => status >= 200 && status < 300;

const hasStatus = ({ status }: ParsedResponse, ...statuses: readonly number[]): boolean =>
  statuses.includes(status);

function hasMovedRevision({ movedTo, status }: ParsedResponse): boolean {
  return movedTo !== undefined && !isSuccessStatus(status);
}

/** Redirects are not followed, because the key is meant for one host only. */
function isFromWrongEndpoint(response: ParsedResponse): boolean {
  const { status } = response;
  return hasStatus(response, ...wrongEndpointStatuses) || (status >= 300 && status < 400);
}

function isAccepted(response: ParsedResponse): boolean {
  return response.isLookUp !== true && isDocumentedSuccess(response);
}

/**
 * Returns true for the success that Klaviyo documents, and for nothing else: for a lane with jobs a 202
 * with a job, for a lane of single resources a 200 or 201 with the resource, for a lane of members a 204
 * without a body, for the others a 202 without a body or with a document without errors.
 */
export function isDocumentedSuccess({
  lane,
  status,
  bodyText,
  isWhole,
}: Pick<KlaviyoResponse, 'lane' | 'status' | 'bodyText' | 'isWhole'>): boolean {
  if (!isWhole) return false;
  if (getLaneApi(lane).success === 'no-content') return status === 204 && bodyText === '';
  if (getLaneApi(lane).success === 'resource') {
    return (status === 200 || status === 201) && readResourceId(lane, bodyText) !== null;
  }
  if (status !== 202) return false;
  if (hasJobs(lane)) return readResourceId(lane, bodyText) !== null;
  return bodyText === '' || isDocument(tryParseJson(bodyText));
}

/** Returns true for a 202 of Klaviyo that names no job, for a lane with jobs. Klaviyo has responded like this. */
function isSuccessWithoutJob({ lane, status, bodyText, isWhole }: ParsedResponse): boolean {
  if (!hasJobs(lane) || status !== 202 || !isWhole) return false;
  return bodyText === '' || isDocument(tryParseJson(bodyText));
}

function hasJobs(lane: Lane): boolean {
  const { success } = getLaneApi(lane);
  return success === 'import-job' || success === 'counting-job';
}

/** The id of the job or of the resource in a response; null if there is none. */
function readResourceId(lane: Lane, bodyText: string): string | null {
  const id = toResource(tryParseJson(bodyText), getLaneApi(lane).body.type)?.id;
  return typeof id === 'string' && /^\S{1,200}$/.test(id) ? id : null;
}

const isAboutList = ({ pointer }: ApiError): boolean => /^#?\/?data\/relationships/.test(pointer);

/**
 * Returns true for Klaviyo's own 404 of a request whose path names the list. A wrong base URL cannot be the
 * reason, because the look-up came through. Other servers have errors of another form.
 */
const isAboutPath = ({ lane, status, isLookUp, bodyText }: ParsedResponse): boolean =>
  status === 404 &&
  isLookUp !== true &&
  getLaneApi(lane).path.includes('{id}') &&
  isErrorDocument(tryParseJson(bodyText));

/** Two entries share a unique_id and must not share a request. Each is valid in a request of its own. */
const isAboutDuplicateId = ({ detail }: ApiError): boolean =>
  /unique[ _-]?id/i.test(detail) &&
  /more than once|duplicat|repeat|twice|not unique|be unique|same unique/i.test(detail);

function toMovedOutcome({ movedTo = '', status }: ParsedResponse, code: string): Outcome {
  const detail = `Klaviyo does not serve the revision any more; sent again under ${movedTo}`;
  return { kind: 'retryable', reason: { code, detail, status }, afterMs: 0 };
}

/** The result is final, or known when the job has ended. */
function toAcceptedOutcome({ lane, bodyText }: ParsedResponse): Outcome {
  const ref = hasJobs(lane) ? readResourceId(lane, bodyText) : null;
  return ref === null ? { kind: 'delivered' } : { kind: 'pending', ref };
}

function toJoblessOutcome({ status }: ParsedResponse, code: string): Outcome {
  const detail = `Klaviyo answered ${status} without a job`;
  return { kind: 'retryable', reason: { code, detail, status } };
}

/** Klaviyo has said "available in 0 seconds", and a request that comes too early gets another 429. */
const minThrottleMs = 1000;

function toThrottled(response: ParsedResponse, code: string): Outcome {
  const [, seconds = '0'] = /available in (\d{1,6}) second/i.exec(response.bodyText) ?? [];
  const { retryAfterMs } = toRateFeedback(response.headers, response.now);
  const requestedMs = retryAfterMs ?? Number(seconds) * 1000;
  const afterMs = Math.min(maxWaitMs, Math.max(minThrottleMs, requestedMs));
  return { kind: 'throttled', afterMs, reason: toReasonWithCode(response, code) };
}

function toRetryable(response: ParsedResponse, code: string): Outcome {
  const { retryAfterMs } = toRateFeedback(response.headers, response.now);
  // A 5xx with Retry-After, and these statuses, mean overload: no record caused them. Any other failure
  // may be caused by one record: a firewall, for example, responds with a page.
  const isOverload =
    (retryAfterMs !== null && response.status >= 500) || hasStatus(response, 421, 425, 529);
  return {
    kind: 'retryable',
    reason: toReasonWithCode(response, code),
    ...(retryAfterMs !== null && { afterMs: retryAfterMs }),
    ...(!isOverload && { mayBeContent: true }),
  };
}

function toBlocked(response: ParsedResponse, code: string): Extract<Outcome, { kind: 'blocked' }> {
  const advice = code === 'scope' ? toScopeAdvice(response.lane) : (adviceByRow[code] ?? code);
  return { kind: 'blocked', reason: toReasonWithCode(response, code), advice };
}

/** A page may come from a firewall that objects to one record; Klaviyo itself would respond with JSON. */
function toWrongEndpoint(response: ParsedResponse, code: string): Outcome {
  const outcome = toBlocked(response, code);
  return response.isFromKlaviyo ? outcome : { ...outcome, mayBeContent: true };
}

function toScopeAdvice(lane: Lane): string {
  const { isOptional, scopes, lookUp } = getLaneApi(lane);
  const needed = isOptional === true ? [...scopes, ...(lookUp?.scopes ?? [])] : neededScopes;
  return `forbidden: give the key its scopes (${needed.join(', ')})`;
}

/** What an operator must do, by the name of the row. Each text begins with what is wrong. */
const adviceByRow: Readonly<Record<string, string>> = {
  auth: 'unauthorized: check KLAVIYO_API_KEY (wrong, revoked, or of a closed account) and the credentials of a proxy',
  revision: 'revision: set KLAVIYO_REVISION to auto, or to one that Klaviyo serves',
  endpoint: 'endpoint: check KLAVIYO_BASE_URL, there is no such API at this address',
  list: 'list: the list that the profiles are to join is wrong',
};

function toTooLarge(response: ParsedResponse, code: string): Outcome {
  const reason = toReasonWithCode(response, code);
  if (response.count === 1) return { kind: 'rejected', reason };
  return { kind: 'unattributed', method: 'size', reason };
}

function toNamedOutcomes(response: ParsedResponse): readonly Outcome[] {
  const reason = toReasonWithCode(response, 'rejected');
  const other: Outcome = { kind: 'unattributed', method: 'pointer', reason };
  return Array.from({ length: response.count }, (_, index): Outcome => {
    const own = response.errorsByItem.get(index);
    if (own === undefined) return other;
    const faults = own.map(({ error, location }) => ({
      pointer: location.pointer,
      detail: error.detail,
    }));
    const errors = own.map(({ error }) => error);
    const fallback = { ...reason, detail: describeResponse(response) };
    return { kind: 'rejected', reason: toKlaviyoReason(errors, fallback, faults) };
  });
}

function toUnattributed(response: ParsedResponse): Outcome {
  const reason = toReasonWithCode(response, 'rejected');
  return { kind: 'unattributed', method: 'bisect', reason };
}

function toRejected(response: ParsedResponse): Outcome {
  return { kind: 'rejected', reason: toReasonWithCode(response, 'rejected') };
}

/** Klaviyo names the profile that has one of the identifiers. */
function toDuplicate(response: ParsedResponse, code: string): Outcome {
  const id = response.errors.find(({ duplicateId }) => duplicateId !== '')?.duplicateId ?? '';
  const reason = toReasonWithCode(response, code);
  const detail = `${reason.detail} It is the profile ${id}: merge the profiles in Klaviyo, or post one identifier alone.`;
  return { kind: 'rejected', reason: { ...reason, detail } };
}

function toReasonWithCode(response: ParsedResponse, code: string): Reason {
  const detail = describeResponse(response);
  return toKlaviyoReason(response.errors, { code, detail, status: response.status });
}

/** A text for a response without an error document. For a page it quotes the title. */
function describeResponse(response: ParsedResponse): string {
  const { status, isPage, isFromKlaviyo, isWhole, bodyText } = response;
  if (!isPage && isWhole && (isFromKlaviyo || bodyText === '') && !isSuccessStatus(status)) {
    return `Klaviyo answered ${status}`;
  }
  const [, title = ''] = (isPage ? /<title>([^<]{1,100})/i.exec(bodyText) : null) ?? [];
  const quoted = title.trim() === '' ? '' : ` ("${title.trim()}")`;
  const suffix = isWhole ? '' : ', and the body cannot be read';
  return `something between us and Klaviyo answered ${status}${quoted}${suffix}`;
}
