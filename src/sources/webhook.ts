import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Clock } from '../clock.js';
import { acceptRawBodies, toTooLarge, type RawBody } from '../http/plugins/body.js';
import { parseContentCodings } from '../http/plugins/content-codings.js';
import type { AcceptingDeps, ServerDeps } from '../http/deps.js';
import { toNotFound } from '../http/plugins/errors.js';
import { ProblemError, toProblemResponses } from '../http/plugins/problems.js';
import { findBackpressure, toBackpressureProblem } from '../http/plugins/backpressure.js';
import type { AcceptedFromSource } from '../ingest/accept-from-source.js';
import { toIssues, describeIssues } from '../ingest/validation.js';
import { limits } from '../ingest/limits.js';
import type { SourcePost } from '../ingest/source-entry.js';
import type { Parsed } from '../json/json.js';
import { parseInSteps, type FindExcess } from '../json/large.js';
import { runInSlices } from '../slices.js';
import { defineSource, type SettingSchemas, type Source, type SourceValues } from './source.js';

/** Sources that POST one signed JSON document a request: what they have in common. */

/** How one sender signs its webhooks. */
export type WebhookSignature = {
  /** False: the route answers 404, as if it did not exist. */
  isConfigured(request: FastifyRequest): boolean;
  /** Checks the headers before the body is read. Returns the error, or null if the body is needed to decide. */
  checkHeaders(request: FastifyRequest): ProblemError | null;
  /** Checks the signature of this body. Returns the error, or null if the signature is valid. */
  checkBody(request: FastifyRequest, bytes: Buffer): ProblemError | null;
};

type WebhookSource<Name extends string, S extends SettingSchemas, M> = Omit<
  Source<Name, S, M>,
  'routes'
> & {
  /** The route, in Fastify's syntax. */
  readonly path: string;
  /** What the documentation of the route says; what is posted is checked by the map alone. */
  readonly schema: {
    readonly operationId: string;
    readonly summary: string;
    readonly description: string;
    readonly headers?: z.ZodObject;
    readonly params?: z.ZodObject;
    readonly body: z.ZodType;
  };
  readonly signature: (context: {
    readonly settings: SourceValues<Name, S, M>;
    readonly clock: Clock;
  }) => WebhookSignature;
  /**
   * Why a body is not read as JSON and is answered 200 all the same, such as `ping`: the reason of a
   * skip. Null: it must be JSON. Absent: all bodies must be.
   */
  readonly findSkipReason?: (text: string) => string | null;
};

/** A source with one route that takes signed requests and answers 200 once the store has what they become. */
export function defineWebhookSource<const Name extends string, S extends SettingSchemas, M = never>(
  source: WebhookSource<Name, S, M>,
): Source<Name, S, M> {
  const { path, schema: described, signature, findSkipReason, ...others } = source;
  const security = Object.keys(source.docs.securitySchemes).map((name) => ({ [name]: [] }));
  const schema = { ...described, tags: [source.name], security, response: webhookAnswers };
  return defineSource<Name, S, M>({
    ...others,
    routes(scope, deps, settings) {
      openWebhooks(scope, deps, signature({ settings, clock: deps.clock }));
      const routes = scope.withTypeProvider<ZodTypeProvider>();
      routes.post(path, { schema }, async (request, reply) => {
        const { text } = toRawBody(request);
        const reason = findSkipReason?.(text) ?? null;
        if (reason !== null) {
          const post = toSkippedPost(source.name, reason);
          const accepted = await deps.acceptFromSource(post, { strict: false });
          return reply.code(200).send(toWebhookAnswer(post, accepted));
        }
        const { parsed, isCut } = await readWebhook(text, deps);
        const mapped = source.map(
          {
            path: request.url,
            headers: request.headers,
            body: parsed,
            receivedAt: deps.clock.now(),
          },
          settings,
        );
        if (!mapped.ok) throw new ProblemError('invalid', describeIssues(mapped.errors));
        const post = markCut(mapped.post, isCut);
        const accepted = await deps.acceptFromSource(post, { strict: false });
        return reply.code(200).send(toWebhookAnswer(post, accepted));
      });
    },
  });
}

/** A request that is skipped as a whole. */
function toSkippedPost(source: string, reason: string): SourcePost {
  return { source, topic: reason, entries: [], people: [], skipped: [{ reason }] };
}

/** Senders publish no bound. The largest known, an order of 500 lines, has some 2 MB. */
const webhookMaxBytes = 5_000_000;

/**
 * Makes this scope one for signed requests: whoever holds a secret may post, so no key of the relay is
 * asked for. The headers are judged before the body is read, and the signature before it is parsed.
 * These senders do not compress, so nothing is decompressed for a stranger.
 */
function openWebhooks(
  scope: FastifyInstance,
  deps: AcceptingDeps,
  signature: WebhookSignature,
): void {
  const { unadmitted } = deps;
  const limitBytes = Math.min(deps.config.BODY_LIMIT_BYTES, webhookMaxBytes);
  const refuse = (request: FastifyRequest, problem: ProblemError | null): void => {
    if (problem !== null) throw unadmitted.recordFailure(request, problem);
  };
  scope.addHook('onRequest', refuseEarly(deps, signature));
  scope.addHook('onRequest', (request, _reply, done) => {
    refuse(request, signature.checkHeaders(request));
    if (parseContentCodings(request.headers['content-encoding']).length > 0) {
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
      const body = await unadmitted.readBody(request, payload, limitBytes + 1);
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

function refuseEarly(deps: ServerDeps, signature: WebhookSignature): onRequestHookHandler {
  return (request, reply, done) => {
    if (!signature.isConfigured(request)) {
      done(toNotFound());
      return;
    }
    const backpressure = findBackpressure(deps);
    if (backpressure !== null && deps.isDraining()) reply.raw.shouldKeepAlive = false;
    done(backpressure ?? undefined);
  };
}

const noBody: RawBody = { bytes: Buffer.alloc(0), text: '' };

/** A request without a body has an empty one here. */
function toRawBody({ body }: Pick<FastifyRequest, 'body'>): RawBody {
  return typeof body === 'object' && body !== null ? (body as RawBody) : noBody;
}

type ReadWebhook = {
  readonly parsed: unknown;
  /** A list that no sender makes as long was left out: it is null. */
  readonly isCut: boolean;
};

/**
 * The JSON of a webhook, read in slices. Throws where it is no JSON. Faults inside it, such as a name
 * that is there twice, are no reason to refuse it, nor is a list that is too long: senders give up a
 * webhook that is refused for long.
 */
async function readWebhook(
  text: string,
  { clock }: Pick<ServerDeps, 'clock'>,
): Promise<ReadWebhook> {
  let isCut = false;
  const findExcess: FindExcess = (container) => {
    const detail = findWebhookExcess(container);
    if (detail !== null) isCut = true;
    return detail;
  };
  const parsed: Parsed = await runInSlices(parseInSteps(text, findExcess), clock);
  if (parsed.ok) return { parsed: parsed.value, isCut };
  const errors = toIssues([parsed.issue]);
  throw new ProblemError('invalid', `the body ${parsed.issue.detail}`, { errors });
}

/** Objects up to this depth have known members. Below it, as in Stripe's `data.object.metadata`, a shop names the members. */
const objectLevels = 3;

/**
 * No list in a webhook is nearly as long, nor are the pairs a shop adds to an object. The objects
 * around them are read by name alone, so that all their members may stay.
 */
const findWebhookExcess: FindExcess = ({ path, isArray, count }) =>
  count > limits.membersPerWebhookField && (isArray || path.length >= objectLevels)
    ? `has more than ${limits.membersPerWebhookField} members`
    : null;

/** A post of a mapped topic says that it was cut: the list counts as a part that goes no further. */
function markCut(post: SourcePost, isCut: boolean): SourcePost {
  const isUnmapped = post.skipped.some(({ reason }) => reason === 'unmapped');
  if (!isCut || isUnmapped) return post;
  return { ...post, skipped: [...post.skipped, { reason: 'too_long' }] };
}

const webhookAnswerSchema = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    waiting: z.int().meta({
      description: 'Name a person that no request has told yet: sent once one does.',
    }),
    dead_lettered: z.int().meta({ description: 'Cannot be sent as they stand: see dead letters.' }),
    skipped: z.array(z.string()).meta({ description: 'Why a part goes no further.' }),
    warnings: z
      .array(z.object({ code: z.string(), pointer: z.string(), detail: z.string() }))
      .meta({ description: 'What could not be read or was altered. The rest was accepted.' }),
    repeat: z.boolean().meta({ description: 'This delivery was taken before: nothing was done.' }),
  })
  .meta({ id: 'WebhookAccepted', description: 'Taken; what was accepted is safe in the store.' });

const webhookAnswers = {
  200: webhookAnswerSchema,
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

/** Throws where the store takes nothing: the sender comes again after a 503. */
function toWebhookAnswer(
  { skipped }: SourcePost,
  accepted: AcceptedFromSource,
): z.output<typeof webhookAnswerSchema> {
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
      throw new ProblemError('invalid', 'nothing was taken');
  }
}
