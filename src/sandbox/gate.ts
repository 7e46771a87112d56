/**
 * What Klaviyo checks before it reads a body, in this order: API key (401), revision (400, 404, 410),
 * scopes (403), rate limits (429). The forms of the responses were recorded live unless a comment says
 * otherwise; retirement follows Klaviyo's versioning policy
 * (developers.klaviyo.com/en/docs/api_versioning_and_deprecation_policy).
 */

import type { IncomingHttpHeaders } from 'node:http';
import type { Faults } from './faults.js';
import type { Limits } from './limits.js';
import type { Operation } from './operation.js';
import { getWindows } from './endpoints.js';
import type { WindowOptions } from './endpoints.js';
import {
  createErrorResponse,
  createInvalidError,
  createNotFoundResponse,
  createThrottledResponse,
} from './response.js';
import type { ApiResponse } from './response.js';
import {
  findRevision,
  getRetirementDate,
  listLaterRevisions,
  oldestRules,
  revisions,
} from './revisions.js';
import type { Retirement, Revision } from './revisions.js';

export type GateOptions = {
  readonly faults: Faults;
  readonly windows: WindowOptions | undefined;
  /** Retires each revision two years after its release. */
  readonly retireByAge: boolean;
  /** If undefined, any key that starts with `pk_` is valid. */
  readonly apiKeys: readonly string[] | undefined;
  /** Scopes by key. A key without an entry has all scopes. */
  readonly scopes: Readonly<Record<string, readonly string[]>> | undefined;
};

export type GateRequest = {
  readonly headers: IncomingHttpHeaders;
  readonly operation: Operation;
  /** Epoch ms. */
  readonly now: number;
  readonly limits: Limits;
};

/**
 * `rejection`: the response to a request that fails a check. `headers`: the rate limit headers, and
 * `revision` if a later revision responds than the request asked for.
 */
export type Admission = { readonly headers: Readonly<Record<string, string>> } & (
  | { readonly rejection: ApiResponse; readonly revision: null }
  | { readonly rejection: null; readonly revision: Revision }
);

/** Runs all checks and records the arrival for the sliding windows, whatever the outcome. */
export function checkAdmission(request: GateRequest, options: GateOptions): Admission {
  const { operation, limits } = request;
  const served = checkCredentials(request, options);
  const isAllowed = 'revision' in served;
  const rules = isAllowed ? served.revision : oldestRules;
  const windows = getWindows(operation, rules, options.windows);
  limits.recordArrival(operation, windows);
  if (!isAllowed) return { rejection: served, revision: null, headers: {} };
  const quota = limits.consume(operation, windows);
  if (!quota.ok) {
    const rejection = createThrottledResponse(quota.retryAfterSeconds);
    return { rejection, revision: null, headers: {} };
  }
  const headers = { ...served.headers, ...quota.headers };
  return { rejection: null, revision: served.revision, headers };
}

function checkCredentials(
  { headers, operation, now }: GateRequest,
  { apiKeys, scopes, faults, retireByAge }: GateOptions,
): ServedRevision | ApiResponse {
  const caller = authenticate(headers.authorization, apiKeys);
  if (!('key' in caller)) return caller;
  const today = new Date(now).toISOString().slice(0, 10);
  const revision = parseRevision(getFirstValue(headers.revision), today);
  if (!('date' in revision)) return revision;
  const optsOut = headers['x-klaviyo-revision-fall-forward-opt-out'] === '1';
  const served = resolveRevision({ revision, optsOut, today }, (candidate): Retirement | null => {
    const retirement = faults.applyRetirement(operation.endpoint, candidate.date);
    if (retirement !== null) return retirement;
    return retireByAge && getRetirementDate(candidate) <= today ? documentedRetirement : null;
  });
  if (!('revision' in served)) return served;
  return checkScopes(operation.scopes, scopes?.[caller.key]) ?? served;
}

export function getFirstValue(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

const scheme = 'Klaviyo-API-Key';

/** Returns the key, or Klaviyo's 401 for a wrong scheme or a wrong key. */
function authenticate(
  header: string | undefined,
  known: readonly string[] | undefined,
): { readonly key: string } | ApiResponse {
  const [, key] = new RegExp(`^${scheme} +(\\S+)$`, 'i').exec(header?.trim() ?? '') ?? [];
  if (key === undefined) {
    return createUnauthorizedResponse({
      code: 'not_authenticated',
      title: 'Authentication credentials were not provided.',
      detail: `Missing or invalid authorization scheme. Please use ${scheme}.`,
    });
  }
  if (known === undefined ? key.startsWith('pk_') : known.includes(key)) return { key };
  return createUnauthorizedResponse({
    code: 'authentication_failed',
    title: 'Incorrect authentication credentials.',
    detail: 'Incorrect authentication credentials.',
  });
}

function createUnauthorizedResponse(error: {
  code: string;
  title: string;
  detail: string;
}): ApiResponse {
  return createErrorResponse(401, [{ ...error, source: { pointer: '/data/' } }]);
}

/**
 * Klaviyo's text for a missing scope was never recorded. Code, title and status are those of other
 * recorded 403s.
 */
function checkScopes(
  needed: readonly string[],
  granted: readonly string[] | undefined,
): ApiResponse | null {
  const missing = granted === undefined ? [] : needed.filter((scope) => !granted.includes(scope));
  if (missing.length === 0) return null;
  return createErrorResponse(403, [
    {
      code: 'permission_denied',
      title: 'You do not have permission to perform this action.',
      detail: `The API key used for this request is missing the required scopes: ${missing.join(', ')}`,
      source: { pointer: '/data/' },
    },
  ]);
}

/**
 * Returns the revision of the header, or the response to an invalid one: 404 for a future date, 400
 * for a malformed one (both recorded live, but not the text of the 400). A date between two
 * releases means the earlier release. `today`: YYYY-MM-DD.
 */
function parseRevision(header: string | undefined, today: string): Revision | ApiResponse {
  if (header === undefined || header === '')
    return createBadRevisionResponse('A revision header is required.');
  const [, date] = /^(\d{4}-\d{2}-\d{2})(?:\.[a-z]+\d*)?$/.exec(header) ?? [];
  if (date === undefined || !isCalendarDate(date)) {
    return createBadRevisionResponse(
      `The revision '${header}' must have the format YYYY-MM-DD[.suffix].`,
    );
  }
  if (date > today) return createNotFoundResponse('Unable to specify a future revision date');
  return findRevision(date) ?? createTooEarlyResponse(date);
}

/** Klaviyo's own earliest date differs between operations and is not published. */
function createTooEarlyResponse(date: string): ApiResponse {
  const earliest = revisions[0]?.date ?? '';
  return createNotFoundResponse(
    `The revision ${date} is before the earliest available, use a date after ${earliest}`,
  );
}

function createBadRevisionResponse(detail: string): ApiResponse {
  return createErrorResponse(400, [createInvalidError(detail, { pointer: '/data/' })]);
}

/**
 * An impossible date, such as the 30th of February, rolls over and is serialised as another date.
 */
function isCalendarDate(text: string): boolean {
  const at = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(text);
}

/** Klaviyo's documented behaviour. */
const documentedRetirement: Retirement = {
  answer: 'forward',
  heedsOptOut: true,
  named: true,
};

/** The parts of a request that decide which revision responds. */
type RequestedRevision = {
  readonly revision: Revision;
  /** `X-Klaviyo-Revision-Fall-Forward-Opt-Out: 1` (Klaviyo's versioning policy). */
  readonly optsOut: boolean;
  /** YYYY-MM-DD. */
  readonly today: string;
};

/** The revision that responds, and the headers that name it if it is not the requested one. */
type ServedRevision = {
  readonly revision: Revision;
  readonly headers: Readonly<Record<string, string>>;
};

/**
 * Selects the revision that responds: the requested one, the next one that is not retired, or none
 * (410). `toRetirement` returns how a revision is retired, or null if it is not.
 */
function resolveRevision(
  asked: RequestedRevision,
  toRetirement: (revision: Revision) => Retirement | null,
): ServedRevision | ApiResponse {
  const retirement = toRetirement(asked.revision);
  if (retirement === null) return { revision: asked.revision, headers: {} };
  const optedOut = asked.optsOut && retirement.heedsOptOut;
  if (retirement.answer === 'gone' || optedOut)
    return createGoneResponse(asked.revision, retirement);
  const later = listLaterRevisions(asked.revision, asked.today);
  const served = later.find((revision) => toRetirement(revision) === null);
  if (served === undefined) return createGoneResponse(asked.revision, retirement);
  return { revision: served, headers: retirement.named ? { revision: served.date } : {} };
}

/** Klaviyo documents the status alone. The text is that of its retired v1 and v2 APIs. */
function createGoneResponse({ date }: Revision, { body }: Retirement): ApiResponse {
  if (body !== undefined) return { status: 410, body };
  return createErrorResponse(410, [
    {
      code: 'gone',
      title: 'Gone.',
      detail: `The revision ${date} has been retired and is no longer in service.`,
      source: { pointer: '/data/' },
    },
  ]);
}
