import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { AcceptedFromSource } from '../../../ingest/accept-from-source.js';
import type { SourcePost } from '../../../ingest/source-entry.js';
import type { SourceDocs } from '../../../sources/source.js';
import type { Webhook, WebhookSignature } from '../../../sources/webhook.js';
import type { AcceptingDeps } from '../../deps.js';
import { rejectOnBackpressure, toBackpressureProblem } from '../../plugins/backpressure.js';
import { acceptRawBodies, createTooLargeProblem, type RawBody } from '../../plugins/body.js';
import { parseContentCodings } from '../../plugins/content-codings.js';
import { ProblemError, toNotFound, toProblemResponses } from '../../plugins/problems.js';

/**
 * The route of a source that POSTs one signed JSON document a request, such as Shopify. One request goes
 * through these steps, and the first step that fails answers it:
 *
 * 1. 404 if the source is not configured, 503 if the store is full or the relay drains.
 * 2. `signature.checkHeaders`: 401. A compressed body: 415. Nothing is decompressed for a caller that is
 *    not known yet.
 * 3. The body is read under the bound for unauthenticated callers: 413 above 5 MB or BODY_LIMIT_BYTES.
 * 4. `signature.checkBody`: 401. No key of the relay is needed, since only the sender has the secret.
 * 5. `webhook.read` may skip the request, such as a ping; else it parses and maps the body: 400 if this
 *    is not possible. A list that is too long is replaced by null and reported as the skip `too_long`.
 * 6. `acceptFromSource`: 200 once the store has the entries, 503 if it takes none.
 *
 * An authentic request is answered 200 even if parts of it are invalid: senders disable a webhook that
 * fails for long, and invalid entries are kept as dead letters.
 */
export function routeWebhook(
  scope: FastifyInstance,
  deps: AcceptingDeps,
  { name, docs, webhook }: { name: string; docs: SourceDocs; webhook: Webhook },
): void {
  checkSignedRequests(scope, deps, webhook.signature);
  const security = Object.keys(docs.securitySchemes).map((scheme) => ({ [scheme]: [] }));
  const schema = { ...webhook.schema, tags: [name], security, response: webhookResponses };
  const routes = scope.withTypeProvider<ZodTypeProvider>();
  routes.post(webhook.path, { schema }, async ({ url, headers, body }: FastifyRequest, reply) => {
    const { text } = isRawBody(body) ? body : noBody;
    const read = await webhook.read({ path: url, headers, text });
    if (!read.ok) throw new ProblemError('invalid', read.detail, { errors: read.errors });
    const accepted = await deps.acceptFromSource(read.post, { strict: false });
    for (const { notice, reason } of read.post.skipped) {
      if (notice !== undefined) deps.logger.warn({ source: name, reason }, notice);
    }
    return reply.code(200).send(createWebhookResponse(read.post, accepted));
  });
}

/** Senders publish no bound. The largest known body, an order of 500 lines, has some 2 MB. */
const webhookMaxBytes = 5_000_000;

/** Adds the hooks of steps 1 to 4 to a scope. */
function checkSignedRequests(
  scope: FastifyInstance,
  deps: AcceptingDeps,
  signature: WebhookSignature,
): void {
  const { unadmitted } = deps;
  const limitBytes = Math.min(deps.config.BODY_LIMIT_BYTES, webhookMaxBytes);
  const throwIfUnauthorized = (request: FastifyRequest, fault: string | null): void => {
    if (fault === null) return;
    const headers = { 'www-authenticate': signature.challenge };
    throw unadmitted.recordFailure(request, new ProblemError('unauthorized', fault, { headers }));
  };
  scope.addHook('onRequest', (request, _reply, done) => {
    if (!signature.isConfigured(request)) throw toNotFound();
    done();
  });
  scope.addHook('onRequest', rejectOnBackpressure(deps));
  scope.addHook('onRequest', (request, _reply, done) => {
    throwIfUnauthorized(request, signature.checkHeaders(request));
    if (parseContentCodings(request.headers['content-encoding']).length > 0) {
      throw new ProblemError(
        'unsupported-media-type',
        'a webhook is signed as it is sent, and not compressed',
        { headers: { 'accept-encoding': 'identity' } },
      );
    }
    done();
  });
  // The schemas of these routes are documentation, so nothing is validated against them.
  scope.setValidatorCompiler(() => () => true);
  acceptRawBodies(scope, {
    limitBytes,
    begin: async (request, payload) => {
      if (Number(request.headers['content-length']) > limitBytes)
        throw createTooLargeProblem(limitBytes);
      const body = await unadmitted.readBody(request, payload, limitBytes + 1);
      try {
        if (!body.isWhole) throw createTooLargeProblem(limitBytes);
        const bytes = Buffer.concat(body.chunks);
        throwIfUnauthorized(request, signature.checkBody(request, bytes));
        return { chunks: [bytes], isWhole: true };
      } finally {
        body.release();
      }
    },
  });
  scope.addHook('preValidation', (request, _reply, done) => {
    // Fastify reads no body of a request whose headers announce none, so `begin` does not run for it.
    if (request.body === undefined) {
      throwIfUnauthorized(request, signature.checkBody(request, noBody.bytes));
    }
    done();
  });
}

const noBody: RawBody = { bytes: Buffer.alloc(0), text: '' };

function isRawBody(body: unknown): body is RawBody {
  return typeof body === 'object' && body !== null;
}

const webhookResponseSchema = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    waiting: z.int().meta({
      description: 'Entries that wait until a request identifies their person. They are sent then.',
    }),
    dead_lettered: z
      .int()
      .meta({ description: 'Entries that cannot be sent and became dead letters.' }),
    skipped: z.array(z.string()).meta({ description: 'Reason codes of the skipped parts.' }),
    warnings: z
      .array(z.object({ code: z.string(), pointer: z.string(), detail: z.string() }))
      .meta({ description: 'What could not be read or was altered. The rest was accepted.' }),
    repeat: z.boolean().meta({ description: 'This delivery was taken before: nothing was done.' }),
  })
  .meta({ id: 'WebhookAccepted', description: 'Taken; what was accepted is safe in the store.' });

const webhookResponses = {
  200: webhookResponseSchema,
  ...toProblemResponses(
    'invalid',
    'unauthorized',
    'not-found',
    'timeout',
    'too-large',
    'unsupported-media-type',
    'unavailable',
  ),
};

/** Creates the body of a 200. Throws a 503 on backpressure, after which the sender repeats the request. */
function createWebhookResponse(
  { skipped }: SourcePost,
  accepted: AcceptedFromSource,
): z.output<typeof webhookResponseSchema> {
  switch (accepted.kind) {
    case 'accepted': {
      const { repeat, rejected, warnings } = accepted;
      return {
        accepted: accepted.accepted,
        duplicates: accepted.duplicates,
        waiting: accepted.waiting,
        dead_lettered: rejected.length,
        skipped: repeat
          ? []
          : [...skipped.map(({ reason }) => reason), ...(accepted.skipped ?? [])],
        warnings: warnings.map(({ code, pointer, detail }) => ({ code, pointer, detail })),
        repeat,
      };
    }
    case 'backpressure':
      throw toBackpressureProblem(accepted);
    case 'invalid':
      throw new ProblemError('invalid', 'nothing was accepted');
  }
}
