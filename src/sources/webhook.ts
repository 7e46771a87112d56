import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import { z } from 'zod';
import type { AcceptedSourced } from '../ingest/accept-from-source.js';
import { findWebhookExcess } from '../ingest/source-bounds.js';
import type { SourcedPost } from '../ingest/source-entry.js';
import type { Parsed } from '../json.js';
import { parseInSteps, type FindExcess } from '../json-large.js';
import { runInSlices } from '../turns.js';
import { acceptRawBodies, toTooLarge, type RawBody } from '../http/body.js';
import { parseCodings } from '../http/codings.js';
import type { AcceptingDeps, ServerDeps } from '../http/deps.js';
import { toNotFound } from '../http/failures.js';
import { ProblemError, toProblemAnswers } from '../http/problems.js';
import { findRefusal, toRefused } from '../http/refusals.js';

/** How one sender signs its webhooks. */
export type WebhookSignature = {
  /** Without any the route is as good as absent. */
  readonly secrets: () => readonly string[];
  /** What is wrong with the headers of a signature alone; null where the body has to decide. */
  checkHeaders(request: FastifyRequest): ProblemError | null;
  /** What is wrong with the signature of this body; null where it is right. */
  checkBody(request: FastifyRequest, bytes: Buffer): ProblemError | null;
};

/** Senders publish no bound. The largest known, an order of 500 lines, has some 2 MB. */
const webhookMaxBytes = 5_000_000;

/**
 * Makes this scope one for signed requests: whoever holds a secret may post, so no key of the relay is
 * asked for. The headers are judged before the body is read, and the signature before it is parsed.
 * These senders do not compress, so nothing is decompressed for a stranger.
 */
export function openWebhooks(
  scope: FastifyInstance,
  deps: AcceptingDeps,
  signature: WebhookSignature,
): void {
  const { unadmitted } = deps;
  const limitBytes = Math.min(deps.config.BODY_LIMIT_BYTES, webhookMaxBytes);
  const refuse = (request: FastifyRequest, problem: ProblemError | null): void => {
    if (problem !== null) throw unadmitted.refuse(request, problem);
  };
  scope.addHook('onRequest', refuseEarly(deps, signature));
  scope.addHook('onRequest', (request, _reply, done) => {
    refuse(request, signature.checkHeaders(request));
    if (parseCodings(request.headers['content-encoding']).length > 0) {
      throw new ProblemError(
        'unsupported-media-type',
        'a webhook is signed as it is sent, and not compressed',
        { headers: { 'accept-encoding': 'identity' } },
      );
    }
    done();
  });
  // What is posted is the sender's affair: the schemas of these routes are documentation.
  scope.setValidatorCompiler(() => () => true);
  acceptRawBodies(scope, {
    limitBytes,
    begin: async (request, payload) => {
      if (Number(request.headers['content-length']) > limitBytes) throw toTooLarge(limitBytes);
      const body = await unadmitted.read(request, payload, limitBytes + 1);
      try {
        if (!body.isWhole) throw toTooLarge(limitBytes);
        const bytes = Buffer.concat(body.chunks);
        refuse(request, signature.checkBody(request, bytes));
        return { chunks: [bytes], isWhole: true };
      } finally {
        body.release();
      }
    },
  });
  scope.addHook('preValidation', (request, _reply, done) => {
    // A request that says it has no body is not parsed at all.
    if (request.body === undefined) refuse(request, signature.checkBody(request, noBody.bytes));
    done();
  });
}

function refuseEarly(deps: ServerDeps, { secrets }: WebhookSignature): onRequestHookHandler {
  return (_request, reply, done) => {
    if (secrets().length === 0) {
      done(toNotFound());
      return;
    }
    const refusal = findRefusal(deps);
    if (refusal !== null && deps.isDraining()) reply.raw.shouldKeepAlive = false;
    done(refusal ?? undefined);
  };
}

const noBody: RawBody = { bytes: Buffer.alloc(0), text: '' };

/** A request without a body has an empty one here. */
export function toRawBody({ body }: Pick<FastifyRequest, 'body'>): RawBody {
  return typeof body === 'object' && body !== null ? (body as RawBody) : noBody;
}

export type ReadWebhook = {
  readonly parsed: Parsed;
  /** A list that no sender makes as long was left out: it is null. */
  readonly isCut: boolean;
};

/**
 * The JSON of a webhook, read in slices. A list that is too long is no reason to refuse it: Shopify gives
 * up a webhook that is refused for long.
 */
export async function readWebhook(
  text: string,
  { clock }: Pick<ServerDeps, 'clock'>,
): Promise<ReadWebhook> {
  let isCut = false;
  const findExcess: FindExcess = (container) => {
    const detail = findWebhookExcess(container);
    if (detail !== null) isCut = true;
    return detail;
  };
  const parsed = await runInSlices(parseInSteps(text, findExcess), clock);
  return { parsed, isCut };
}

/** A post of a mapped topic says that it was cut: the list counts as a part that goes no further. */
export function markCut(post: SourcedPost, { isCut }: Pick<ReadWebhook, 'isCut'>): SourcedPost {
  if (!isCut || post.skipped.includes('unmapped')) return post;
  return { ...post, skipped: [...post.skipped, 'too_long'] };
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
