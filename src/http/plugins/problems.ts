import { z } from 'zod';
import type { Issue } from '../../model/outcome.js';
import { issueSchema } from '../routes/responses.js';

/** All problems of a request, by the last part of their `type`. Only the HTTP layer and the routes of sources make problems. */
export const problems = {
  invalid: { status: 400, title: 'The request is not valid' },
  unauthorized: { status: 401, title: 'A valid key is needed' },
  forbidden: { status: 403, title: 'Not allowed' },
  'not-found': { status: 404, title: 'Not found' },
  'method-not-allowed': { status: 405, title: 'The method is not allowed here' },
  timeout: { status: 408, title: 'The request took too long to arrive' },
  'too-large': { status: 413, title: 'The body is too large' },
  'unsupported-media-type': { status: 415, title: 'The content type or encoding is not supported' },
  'over-quota': { status: 429, title: 'Over the quota of this caller' },
  'too-many-failures': { status: 429, title: 'Too many requests without a valid key' },
  'headers-too-large': { status: 431, title: 'The request headers are too large' },
  internal: { status: 500, title: 'The relay failed' },
  unavailable: { status: 503, title: 'The relay takes nothing right now' },
} as const;

export type ProblemKind = keyof typeof problems;

type ProblemExtras = {
  readonly errors?: readonly Issue[];
  readonly headers?: Readonly<Record<string, string>>;
};

/** Thrown while a request is handled; the error handler sends it as the response. The caller sees `message`. */
export class ProblemError extends Error {
  readonly kind: ProblemKind;
  readonly errors: readonly Issue[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(kind: ProblemKind, detail: string, extras: ProblemExtras = {}) {
    super(detail);
    this.name = 'ProblemError';
    this.kind = kind;
    this.errors = extras.errors ?? [];
    this.headers = extras.headers ?? {};
  }

  /** Read by @fastify/rate-limit and Fastify. */
  get statusCode(): number {
    return problems[this.kind].status;
  }
}

const typePrefix = 'urn:klaviyo-relay:problem:';

/** The body of a response of type application/problem+json (RFC 9457). */
export function toProblemText(problem: ProblemError, requestId?: string): string {
  const { status, title } = problems[problem.kind];
  return JSON.stringify({
    type: typePrefix + problem.kind,
    title,
    status,
    detail: problem.message,
    ...(requestId !== undefined && { instance: `urn:klaviyo-relay:request:${requestId}` }),
    ...(problem.errors.length > 0 && { errors: problem.errors }),
  });
}

export function toUnavailable(detail: string, retryAfterMs: number): ProblemError {
  return new ProblemError('unavailable', detail, { headers: toRetryAfter(retryAfterMs) });
}

/** Retry-After in whole seconds (RFC 9110, 10.2.3). It is never 0, which would make callers retry at once. */
export function toRetryAfter(waitMs: number): Readonly<Record<string, string>> {
  return { 'retry-after': String(Math.max(1, Math.ceil(waitMs / 1000))) };
}

export const problemSchema = z
  .object({
    type: z.string().meta({ examples: [`${typePrefix}invalid`] }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z
      .string()
      .optional()
      .meta({ description: 'Names the request: quote it when you ask.' }),
    errors: z.array(issueSchema).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457.' });

/** The problem responses of a route, for its documentation. */
export function toProblemResponses(...kinds: readonly ProblemKind[]) {
  // An address with too many 401 responses gets this problem. A caller's quota has the same status.
  const withFailures: readonly ProblemKind[] = kinds.includes('unauthorized')
    ? ['too-many-failures', ...kinds]
    : kinds;
  return Object.fromEntries(
    withFailures.map((kind) => [
      problems[kind].status,
      {
        description: problems[kind].title,
        content: { 'application/problem+json': { schema: problemSchema } },
      },
    ]),
  );
}
