import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import { z } from 'zod';
import type { AcceptedSourced } from '../ingest/accept-sourced.js';
import type { SourcedPost } from '../ingest/sourced.js';
import { acceptRawBodies, type RawBody } from './body.js';
import type { ServerDeps } from './deps.js';
import { toNotFound } from './failures.js';
import { ProblemError, toProblemAnswers } from './problems.js';
import { findRefusal, toRefused } from './refusals.js';

/**
 * Makes this scope one for signed requests: whoever holds a secret may post, so no key of the relay is
 * asked for. Without secrets the route is as good as absent.
 */
export function openWebhooks(
  scope: FastifyInstance,
  deps: ServerDeps,
  secrets: readonly string[],
): void {
  scope.addHook('onRequest', refuseEarly(deps, secrets));
  // What is posted is the sender's affair: the schemas of these routes are documentation.
  scope.setValidatorCompiler(() => () => true);
  acceptRawBodies(scope, { limitBytes: deps.config.BODY_LIMIT_BYTES });
}

function refuseEarly(deps: ServerDeps, secrets: readonly string[]): onRequestHookHandler {
  return (_request, reply, done) => {
    if (secrets.length === 0) {
      done(toNotFound());
      return;
    }
    const refusal = findRefusal(deps);
    if (refusal !== null && deps.isDraining()) reply.raw.shouldKeepAlive = false;
    done(refusal ?? undefined);
  };
}

const noBody: RawBody = { bytes: Buffer.alloc(0), text: '' };

/** A request that says it has no body is not parsed at all. */
export function toRawBody({ body }: Pick<FastifyRequest, 'body'>): RawBody {
  return typeof body === 'object' && body !== null ? (body as RawBody) : noBody;
}

export const webhookAnswerSchema = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    dead_lettered: z.int().meta({ description: 'Cannot be sent as they stand: see dead letters.' }),
    skipped: z.array(z.string()).meta({ description: 'Why a part goes no further.' }),
    repeat: z.boolean().meta({ description: 'This delivery was taken before: nothing was done.' }),
  })
  .meta({ id: 'WebhookAccepted', description: 'Taken; what was accepted is safe in the store.' });

export const webhookAnswers = {
  200: webhookAnswerSchema,
  ...toProblemAnswers(
    'invalid',
    'unauthorized',
    'not-found',
    'timeout',
    'too-large',
    'unsupported-media-type',
    'unavailable',
  ),
};

/** Throws where the store takes nothing: the sender comes again after a 503. */
export function toWebhookAnswer(
  { skipped }: SourcedPost,
  taken: AcceptedSourced,
): z.output<typeof webhookAnswerSchema> {
  switch (taken.kind) {
    case 'taken': {
      const { accepted, duplicates, rejected, repeat } = taken;
      const reasons = repeat ? [] : [...skipped];
      return { accepted, duplicates, dead_lettered: rejected.length, skipped: reasons, repeat };
    }
    case 'refused':
      throw toRefused(taken);
    case 'invalid':
      throw new ProblemError('invalid', 'nothing was taken');
  }
}
