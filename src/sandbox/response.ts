/**
 * Responses in Klaviyo's forms: error documents (JSON:API errors, recorded live at revision
 * 2026-07-15) and the HTML pages that Cloudflare sends in Klaviyo's place.
 */

import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { FaultEffect } from './faults.js';

/** `body` is sent as JSON, `text` as it is. Without both, the response has no body. */
export type ApiResponse = {
  readonly status: number;
  readonly body?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Number of events or profiles in the request, for the request log. */
  readonly count?: number;
  /** The effect of a poison rule, which replaces or delays this response. */
  readonly effect?: FaultEffect;
};

/** The place of an error: a JSON Pointer into the body, or a query parameter. */
export type ErrorSource = { readonly pointer: string } | { readonly parameter: string };

/** One entry of `errors`, without `id`, `status` and empty members. */
export type ApiError = {
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly source: ErrorSource;
  readonly meta?: Readonly<Record<string, unknown>>;
};

export function createErrorResponse(status: number, errors: readonly ApiError[]): ApiResponse {
  return {
    status,
    body: {
      errors: errors.map((error) => ({
        id: randomUUID(),
        status,
        code: error.code,
        title: error.title,
        detail: error.detail,
        source: error.source,
        links: {},
        meta: error.meta ?? {},
      })),
    },
  };
}

/** The most frequent error of Klaviyo: code `invalid`, title "Invalid input.". */
export function createInvalidError(
  detail: string,
  source: ErrorSource = { pointer: '/data' },
): ApiError {
  return { code: 'invalid', title: 'Invalid input.', detail, source };
}

/**
 * Recorded (issue 15 of klaviyo-api-ruby) for bodies that are not JSON or not JSON:API documents.
 */
export function createMalformedResponse(): ApiResponse {
  return createErrorResponse(400, [
    createInvalidError('The payload provided in the request is invalid.'),
  ]);
}

/** For revisions, operations and resources that do not exist. */
export function createNotFoundResponse(detail: string): ApiResponse {
  return createErrorResponse(404, [
    { code: 'not_found', title: 'Not found.', detail, source: { pointer: '/data/' } },
  ]);
}

/**
 * Klaviyo documents no 413. Integrators have reported the status; the text is the sandbox's own.
 */
export function createTooLargeResponse(maxBytes: number): ApiResponse {
  return createErrorResponse(413, [
    {
      code: 'payload_too_large',
      title: 'Payload too large.',
      detail: `The request body is larger than ${maxBytes} bytes.`,
      source: { pointer: '/data/' },
    },
  ]);
}

/** For a request with more records than Klaviyo documents as its limit. */
export function createTooManyResponse(limit: {
  /** What the records are, such as `profiles`. */
  readonly noun: string;
  readonly max: number;
  readonly count: number;
  readonly pointer: string;
}): ApiResponse {
  const { noun, max, count, pointer } = limit;
  const detail = `The maximum number of ${noun} per request is ${max}.`;
  return { ...createErrorResponse(400, [createInvalidError(detail, { pointer })]), count };
}

/** A 429 has no `ratelimit-*` headers, only an integer Retry-After (recorded live). */
export function createThrottledResponse(retryAfterSeconds: number): ApiResponse {
  const unit = retryAfterSeconds === 1 ? 'second' : 'seconds';
  const response = createErrorResponse(429, [
    {
      code: 'throttled',
      title: 'Request was throttled.',
      detail: `Request was throttled. Expected available in ${retryAfterSeconds} ${unit}.`,
      source: { pointer: '/data' },
    },
  ]);
  return { ...response, headers: { 'retry-after': String(retryAfterSeconds) } };
}

/** The page that Cloudflare sends in Klaviyo's place, recorded for 400 and 403. */
export function createCloudflareResponse(status: number): ApiResponse {
  const title = status === 403 ? 'Just a moment...' : `${status} ${htmlTitles[status] ?? 'Error'}`;
  return {
    status,
    text: `<html>\n<head><title>${title}</title></head>\n<body>\n<center><h1>${title}</h1></center>\n<hr><center>cloudflare</center>\n</body>\n</html>`,
    headers: {
      'content-type': 'text/html; charset=UTF-8',
      server: 'cloudflare',
      ...(status === 403 ? { 'cf-mitigated': 'challenge' } : {}),
    },
  };
}

const htmlTitles: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Temporarily Unavailable',
  504: 'Gateway Time-out',
  524: 'A timeout occurred',
};

/** A response without a body has no content type: the bulk events endpoint responds with 202 and no body. */
export function sendResponse(response: ServerResponse, apiResponse: ApiResponse): void {
  const { status, body, headers } = apiResponse;
  const text = apiResponse.text ?? (body === undefined ? '' : JSON.stringify(body));
  response.writeHead(status, {
    ...(text === '' ? {} : { 'content-type': 'application/vnd.api+json' }),
    'content-length': Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}
