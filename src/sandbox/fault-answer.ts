import { toCloudflare, toErrors, toThrottled } from './answer.js';
import type { Answer } from './answer.js';
import type { Endpoint } from './endpoints.js';
import type { FaultEffect } from './faults.js';

type Words = { readonly code: string; readonly title: string; readonly detail: string };

/** Klaviyo's recorded words where there are any (401, 403, 409), ours elsewhere. */
const words: Readonly<Record<number, Words>> = {
  400: { code: 'invalid', title: 'Invalid input.', detail: 'Invalid input' },
  401: {
    code: 'authentication_failed',
    title: 'Incorrect authentication credentials.',
    detail: 'Incorrect authentication credentials.',
  },
  403: {
    code: 'permission_denied',
    title: 'You do not have permission to perform this action.',
    detail: 'You do not have permission to perform this action.',
  },
  404: { code: 'not_found', title: 'Not found.', detail: 'Not found.' },
  409: {
    code: 'duplicate_profile',
    title: 'Conflict.',
    detail: 'A profile already exists with one of these identifiers.',
  },
  413: {
    code: 'payload_too_large',
    title: 'Payload too large.',
    detail: 'The request body is too large.',
  },
  415: {
    code: 'unsupported_media_type',
    title: 'Unsupported media type.',
    detail: 'Unsupported content encoding in request.',
  },
};
const otherWords: Words = {
  code: 'error',
  title: 'A server error occurred.',
  detail: 'A server error occurred.',
};

/** The first record of a request, as an error pointer names it. */
const firstRecord: Readonly<Partial<Record<Endpoint, string>>> = {
  events: '/data/attributes',
  'profile-import': '/data/attributes',
  'bulk-events': '/data/attributes/events-bulk-create/data/0/attributes',
  'bulk-profiles': '/data/attributes/profiles/data/0/attributes',
};

/** The answer a fault rule puts in Klaviyo's place. */
export function toFaultAnswer(rule: FaultEffect, endpoint: Endpoint): Answer {
  const answer = toBare(rule, endpoint);
  const { 'retry-after': usual, ...headers } = answer.headers ?? {};
  const seconds = rule.retryAfter === undefined ? usual : rule.retryAfter;
  if (seconds === undefined || seconds === null) return { ...answer, headers };
  return { ...answer, headers: { ...headers, 'retry-after': String(seconds) } };
}

/** Before Retry-After is set right. A body without a status goes out as a success that makes no sense. */
function toBare(rule: FaultEffect, endpoint: Endpoint): Answer {
  if (rule.html) return toCloudflare(rule.status ?? 403);
  const status = rule.status ?? 200;
  if (rule.body !== undefined) return { status, body: rule.body };
  if (status < 400) return { status };
  if (status === 429) return toThrottled(rule.retryAfter ?? 1);
  const pointer = (rule.withPointers ? firstRecord[endpoint] : undefined) ?? '/data';
  return toErrors(status, [{ ...(words[status] ?? otherWords), source: { pointer } }]);
}
