import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Issue } from '../../model/outcome.js';
import { StoreUnavailableError } from '../../model/store.js';

/**
 * Problems: the responses to requests that fail, as application/problem+json (RFC 9457). A hook or a route
 * throws a `ProblemError`; the error handler converts any other error to one, and sends it. Only the HTTP
 * layer makes problems: other layers return values.
 */

/** All problems, by the last part of their `type`. */
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

/** Thrown while a request is handled. The caller sees `message`. */
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

export const issueSchema = z
  .object({
    pointer: z.string().meta({
      description: 'JSON Pointer (RFC 6901); empty: the whole value.',
    }),
    detail: z.string(),
  })
  .meta({ id: 'Fault', description: 'One issue of the request.' });

export const problemSchema = z
  .object({
    type: z.string().meta({ examples: [`${typePrefix}invalid`] }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z
      .string()
      .optional()
      .meta({ description: 'Identifies the request. Quote it if you report a problem.' }),
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

/** Problem text for a Content-Type that Fastify or body.ts cannot read. */
export const oneMediaType = 'the Content-Type is not one media type (RFC 9110, 8.3)';

const unavailableRetryAfterMs = 1000;

/** Sends a problem for every error of every route, and for unknown addresses. */
export function handleErrors(app: FastifyInstance): void {
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler((request, reply) => sendProblem(toNotFound(), request, reply));
}

/** Also handles errors before a route is found, such as a malformed percent-encoding. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = toLoggedProblem(error, request);
  keepConnection(reply);
  reply
    .code(problem.statusCode)
    .headers(problem.headers)
    .type('application/problem+json')
    .send(toProblemText(problem, request.id));
}

/** Converts a thrown error to a problem. An internal error is logged here and nowhere else. */
export function toLoggedProblem(error: unknown, request: FastifyRequest): ProblemError {
  const problem = toProblemError(error);
  if (problem.kind === 'internal') {
    request.log.error(
      { err: error, requestId: request.id },
      'the relay failed to respond to a request',
    );
  }
  return problem;
}

export function keepConnection(reply: FastifyReply): void {
  // Fastify closes the connection after an error in a body. Closing while the caller still sends
  // resets the connection, and the caller never receives the response. So the rest is read and dropped.
  if (reply.hasHeader('connection')) {
    reply.header('connection', reply.raw.shouldKeepAlive ? 'keep-alive' : 'close');
  }
}

export function toNotFound(detail = 'there is nothing at this address'): ProblemError {
  return new ProblemError('not-found', detail);
}

function toProblemError(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) return toSchemaProblem(error);
  if (error instanceof StoreUnavailableError) {
    return toUnavailable('the store is not available', unavailableRetryAfterMs);
  }
  const kind = toKind(error);
  if (kind === 'internal')
    return new ProblemError('internal', 'an unexpected failure; it was logged');
  // An error of Fastify: the header is malformed, or names two media types.
  if (kind === 'unsupported-media-type') return new ProblemError(kind, oneMediaType);
  return new ProblemError(kind, error instanceof Error ? error.message : problems[kind].title);
}

function toSchemaProblem({ validation, validationContext }: FastifyError): ProblemError {
  const place = validationContext === 'querystring' ? 'query' : (validationContext ?? 'request');
  const errors = (validation ?? []).map(({ instancePath, message }) => ({
    // The path of the whole value is empty in zod; the type provider writes a single slash.
    pointer: instancePath === '/' ? '' : instancePath,
    detail: message ?? 'is not valid',
  }));
  return new ProblemError('invalid', `the ${place} is not valid`, { errors });
}

/** Fastify's errors have a status. An error without a 4xx status is an internal error. */
function toKind(error: unknown): ProblemKind {
  if (!(error instanceof Error && 'statusCode' in error)) return 'internal';
  switch (error.statusCode) {
    case 413:
      return 'too-large';
    case 415:
      return 'unsupported-media-type';
    // 414: the id is longer than the router accepts, so that nothing has it.
    case 404:
    case 414:
      return 'not-found';
    default:
      return Number(error.statusCode) >= 400 && Number(error.statusCode) < 500
        ? 'invalid'
        : 'internal';
  }
}
