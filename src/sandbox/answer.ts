import { randomUUID } from 'node:crypto';
import type { FaultEffect } from './faults.js';

export const jsonApiType = 'application/vnd.api+json';

/** What goes back. `body` is written as JSON unless `text` is there; neither means an empty body. */
export type Answer = {
  readonly status: number;
  readonly body?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Events or profiles the request carried, for the request log. */
  readonly count?: number;
  /** A scripted fault that takes the place of this answer (a poison record with an effect of its own). */
  readonly effect?: FaultEffect;
};

/** Where an error is: in the body, by JSON Pointer, or in the query. */
export type ErrorSource = { readonly pointer: string } | { readonly parameter: string };

/** One entry of `errors`; `id`, `status` and empty members are added on the way out. */
export type ApiError = {
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly source: ErrorSource;
  readonly meta?: Readonly<Record<string, unknown>>;
};

/** Klaviyo's error document, in the form recorded live at revision 2026-07-15. */
export function toErrors(status: number, errors: readonly ApiError[]): Answer {
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

/** Most of what Klaviyo refuses is this: code `invalid`, "Invalid input.". */
export function toInvalid(detail: string, source: ErrorSource = { pointer: '/data' }): ApiError {
  return { code: 'invalid', title: 'Invalid input.', detail, source };
}

/** Recorded (issue 15 of klaviyo-api-ruby): what is no JSON, or no JSON:API document. */
export function toMalformed(): Answer {
  return toErrors(400, [toInvalid('The payload provided in the request is invalid.')]);
}

/** Revisions, operations and resources that do not exist. */
export function toNotFound(detail: string): Answer {
  return toErrors(404, [
    { code: 'not_found', title: 'Not found.', detail, source: { pointer: '/data/' } },
  ]);
}

/** The status is from the field, its words are ours: Klaviyo documents no 413. */
export function toTooLarge(maxBytes: number): Answer {
  return toErrors(413, [
    {
      code: 'payload_too_large',
      title: 'Payload too large.',
      detail: `The request body is larger than ${maxBytes} bytes.`,
      source: { pointer: '/data/' },
    },
  ]);
}

/** The answer has no `ratelimit-*` headers: on a 429 they vanish and an integer Retry-After remains. */
export function toThrottled(retryAfterSeconds: number): Answer {
  const unit = retryAfterSeconds === 1 ? 'second' : 'seconds';
  const answer = toErrors(429, [
    {
      code: 'throttled',
      title: 'Request was throttled.',
      detail: `Request was throttled. Expected available in ${retryAfterSeconds} ${unit}.`,
      source: { pointer: '/data' },
    },
  ]);
  return { ...answer, headers: { 'retry-after': String(retryAfterSeconds) } };
}

/** What Cloudflare puts in Klaviyo's place: recorded for 400 and 403. */
export function toCloudflare(status: number): Answer {
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
