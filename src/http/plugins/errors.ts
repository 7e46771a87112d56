import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { StoreUnavailableError } from '../../model/store.js';
import {
  ProblemError,
  problems,
  toProblemText,
  toUnavailable,
  type ProblemKind,
} from './problems.js';

/** Problem text for a Content-Type that Fastify or body.ts cannot read. */
export const oneMediaType = 'the Content-Type is not one media type (RFC 9110, 8.3)';

const unavailableRetryAfterMs = 1000;

/** Responds to every error of every route with application/problem+json. */
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
      'the relay failed to answer a request',
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
  if (hasZodFastifySchemaValidationErrors(error)) return toInvalid(error);
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

function toInvalid({ validation, validationContext }: FastifyError): ProblemError {
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
