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

/** Why a Content-Type cannot be used that Fastify, or body.ts, cannot read. */
export const oneMediaType = 'the Content-Type is not one media type (RFC 9110, 8.3)';

const unavailableRetryAfterMs = 1000;

/** Every error of every route becomes application/problem+json here. */
export function handleErrors(app: FastifyInstance): void {
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler((request, reply) => sendProblem(toNotFound(), request, reply));
}

/** Also for what fails before a route is found, such as a malformed percent-encoding. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = toLoggedProblem(error, request);
  keepConnection(reply);
  reply
    .code(problem.statusCode)
    .headers(problem.headers)
    .type('application/problem+json')
    .send(toProblemText(problem, request.id));
}

/** Whatever was thrown, as what to say of it. Our own fault is logged here and nowhere else. */
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
  // Fastify closes the connection where a body was at fault. Closing while the caller still sends
  // resets the connection, and the caller never sees the answer: the rest is read and dropped.
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
  // Fastify's own: the header is malformed, or joins two.
  if (kind === 'unsupported-media-type') return new ProblemError(kind, oneMediaType);
  return new ProblemError(kind, error instanceof Error ? error.message : problems[kind].title);
}

function toInvalid({ validation, validationContext }: FastifyError): ProblemError {
  const place = validationContext === 'querystring' ? 'query' : (validationContext ?? 'request');
  const errors = (validation ?? []).map(({ instancePath, message }) => ({
    // zod's path of the whole is empty; the type provider writes it as a lone slash.
    pointer: instancePath === '/' ? '' : instancePath,
    detail: message ?? 'is not valid',
  }));
  return new ProblemError('invalid', `the ${place} is not valid`, { errors });
}

/** Fastify's own errors carry a status. What is no caller's fault, whatever it is, is ours. */
function toKind(error: unknown): ProblemKind {
  if (!(error instanceof Error && 'statusCode' in error)) return 'internal';
  switch (error.statusCode) {
    case 413:
      return 'too-large';
    case 415:
      return 'unsupported-media-type';
    // 414: an id longer than the router reads; nothing has one.
    case 404:
    case 414:
      return 'not-found';
    default:
      return Number(error.statusCode) >= 400 && Number(error.statusCode) < 500
        ? 'invalid'
        : 'internal';
  }
}
