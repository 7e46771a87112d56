import {
  createCloudflareResponse,
  createErrorResponse,
  createThrottledResponse,
} from './response.js';
import type { ApiResponse } from './response.js';
import type { Endpoint } from './endpoints.js';
import type { FaultEffect } from './faults.js';

type ErrorText = { readonly code: string; readonly title: string; readonly detail: string };

/** The texts for 401, 403 and 409 were recorded from Klaviyo. The others are the sandbox's own. */
const errorTexts: Readonly<Record<number, ErrorText>> = {
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
const defaultErrorText: ErrorText = {
  code: 'error',
  title: 'A server error occurred.',
  detail: 'A server error occurred.',
};

const firstProfile = '/data/attributes/profiles/data/0/attributes';

/** JSON Pointer to the first record of a request. */
const firstRecord: Readonly<Partial<Record<Endpoint, string>>> = {
  events: '/data/attributes',
  'profile-import': '/data/attributes',
  'bulk-events': '/data/attributes/events-bulk-create/data/0/attributes',
  'bulk-profiles': firstProfile,
  subscribe: firstProfile,
  unsubscribe: firstProfile,
  suppress: firstProfile,
  unsuppress: firstProfile,
  'list-members': '/data/0',
  deletion: '/data/attributes/profile/data/attributes',
};

/** The response that a fault rule puts in place of Klaviyo's. */
export function createFaultResponse(rule: FaultEffect, endpoint: Endpoint): ApiResponse {
  const response = createBaseResponse(rule, endpoint);
  const { 'retry-after': usual, ...headers } = response.headers ?? {};
  const seconds = rule.retryAfter === undefined ? usual : rule.retryAfter;
  if (seconds === undefined || seconds === null) return { ...response, headers };
  return { ...response, headers: { ...headers, 'retry-after': String(seconds) } };
}

/**
 * The response before the rule's Retry-After is applied. A rule with a body but no status responds
 * with 200.
 */
function createBaseResponse(rule: FaultEffect, endpoint: Endpoint): ApiResponse {
  if (rule.html) return createCloudflareResponse(rule.status ?? 403);
  const status = rule.status ?? 200;
  if (rule.body !== undefined) return { status, body: rule.body };
  if (status < 400) return { status };
  if (status === 429) return createThrottledResponse(rule.retryAfter ?? 1);
  const pointer = (rule.withPointers ? firstRecord[endpoint] : undefined) ?? '/data';
  return createErrorResponse(status, [
    { ...(errorTexts[status] ?? defaultErrorText), source: { pointer } },
  ]);
}
