import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Clock } from '../clock.js';
import { acceptRawBodies, createTooLargeProblem, type RawBody } from '../http/plugins/body.js';
import { parseContentCodings } from '../http/plugins/content-codings.js';
import type { AcceptingDeps } from '../http/deps.js';
import { ProblemError, toNotFound, toProblemResponses } from '../http/plugins/problems.js';
import { rejectOnBackpressure, toBackpressureProblem } from '../http/plugins/backpressure.js';
import type { AcceptedFromSource } from '../ingest/accept-from-source.js';
import { toIssues, describeIssues } from '../ingest/validation.js';
import { limits } from '../ingest/limits.js';
import type { SourcePost } from '../ingest/source-entry.js';
import { parseInSteps, type FindExcess } from '../json/large.js';
import { runInSlices } from '../slices.js';
import { defineSource, type SettingSchemas, type Source, type SourceValues } from './source.js';

/**
 * The route of a source that POSTs one signed JSON document a request, such as Shopify. A source gives
 * the path, the signature check and the map; everything else is here. One request goes through these
 * steps, and the first step that fails answers it:
 *
 * 1. 404 if the source is not configured, 503 if the store is full or the relay drains.
 * 2. `signature.checkHeaders`: 401. A compressed body: 415. Nothing is decompressed for a caller that is
 *    not known yet.
 * 3. The body is read under the bound for unauthenticated callers: 413 above 5 MB or BODY_LIMIT_BYTES.
 * 4. `signature.checkBody`: 401. No key of the relay is needed, since only the sender has the secret.
 * 5. `findSkipReason` may answer 200 without reading the body as JSON.
 * 6. The body is parsed in slices, so that a long one does not hold the event loop: 400 if it is not
 *    JSON. A list that is too long is replaced by null and reported as the skip `too_long`.
 * 7. `map`, then `acceptFromSource`: 200 once the store has the entries, 503 if it takes none.
 *
 * An authentic request is answered 200 even if parts of it are invalid: senders disable a webhook that
 * fails for long, and invalid entries are kept as dead letters.
 */

/** How one sender signs its webhooks. */
export type WebhookSignature = {
  /** Returns false if the route answers 404, as if it did not exist. */
  isConfigured(request: FastifyRequest): boolean;
  /** Checks the headers before the body is read. Returns the error, or null if the body is needed to decide. */
  checkHeaders(request: FastifyRequest): ProblemError | null;
  /** Checks the signature of this body. Returns the error, or null if the signature is valid. */
  checkBody(request: FastifyRequest, bytes: Buffer): ProblemError | null;
};

/** The problem of a request whose signature is missing or wrong. RFC 9110 (11.6.1) requires the challenge. */
export function createSignatureProblem(challenge: string, detail: string): ProblemError {
  return new ProblemError('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}

type WebhookSource<Name extends string, S extends SettingSchemas, M> = Omit<
  Source<Name, S, M>,
  'routes'
> & {
  /** The route, in Fastify's syntax. */
  readonly path: string;
  /** The documentation of the route. It is not enforced: the map alone decides what it can read. */
  readonly schema: {
    readonly operationId: string;
    readonly summary: string;
    readonly description: string;
    readonly headers?: z.ZodObject;
    readonly params?: z.ZodObject;
    readonly body: z.ZodType;
  };
  /** Creates the signature check. It reads `settings` at each use, because a reload replaces secrets. */
  readonly signature: (context: {
    readonly settings: SourceValues<Name, S, M>;
    readonly clock: Clock;
  }) => WebhookSignature;
  /**
   * Returns the skip reason of a body that is answered 200 without being read as JSON, such as `ping`,
   * or null if it must be JSON. Absent: every body must be JSON.
   */
  readonly findSkipReason?: (text: string) => string | null;
};

/** Creates a source with one route that takes signed requests. */
export function defineWebhookSource<const Name extends string, S extends SettingSchemas, M = never>(
  source: WebhookSource<Name, S, M>,
): Source<Name, S, M> {
  const { path, schema: described, signature, findSkipReason, ...others } = source;
  const security = Object.keys(source.docs.securitySchemes).map((name) => ({ [name]: [] }));
  const schema = { ...described, tags: [source.name], security, response: webhookResponses };

  /** Steps 5 and 6, and the map. */
  const readPost = async (
    { url, headers, body }: FastifyRequest,
    settings: SourceValues<Name, S, M>,
    clock: Clock,
  ): Promise<SourcePost> => {
    const { text } = isRawBody(body) ? body : noBody;
    const reason = findSkipReason?.(text) ?? null;
    if (reason !== null) {
      const skipped = [{ reason }];
      return { source: source.name, topic: reason, entries: [], people: [], skipped };
    }
    const { json, isCut } = await parseWebhook(text, clock);
    const mapped = source.map(
      { path: url, headers, body: json, receivedAt: clock.now() },
      settings,
    );
    if (!mapped.ok) throw new ProblemError('invalid', describeIssues(mapped.errors));
    const { post } = mapped;
    // A topic that is not mapped does not lose anything by the cut.
    const isReported = isCut && !post.skipped.some((part) => part.reason === 'unmapped');
    return isReported ? { ...post, skipped: [...post.skipped, { reason: 'too_long' }] } : post;
  };

  return defineSource<Name, S, M>({
    ...others,
    routes(scope, deps, settings) {
      const { clock, acceptFromSource } = deps;
      checkSignedRequests(scope, deps, signature({ settings, clock }));
      const routes = scope.withTypeProvider<ZodTypeProvider>();
      routes.post(path, { schema }, async (request, reply) => {
        const post = await readPost(request, settings, clock);
        const accepted = await acceptFromSource(post, { strict: false });
        return reply.code(200).send(createWebhookResponse(post, accepted));
      });
    },
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
  const throwIfUnauthorized = (request: FastifyRequest, problem: ProblemError | null): void => {
    if (problem !== null) throw unadmitted.recordFailure(request, problem);
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

/**
 * Parses the JSON of a webhook in slices. Throws if the text is not JSON. Issues inside it, such as a
 * repeated name, are no reason to reject it. `isCut`: a list that was too long is null in `json`.
 */
async function parseWebhook(
  text: string,
  clock: Clock,
): Promise<{ readonly json: unknown; readonly isCut: boolean }> {
  let isCut = false;
  const findExcess: FindExcess = (container) => {
    const detail = findWebhookExcess(container);
    if (detail !== null) isCut = true;
    return detail;
  };
  const parsed = await runInSlices(parseInSteps(text, findExcess), clock);
  if (parsed.ok) return { json: parsed.value, isCut };
  const errors = toIssues([parsed.issue]);
  throw new ProblemError('invalid', `the body ${parsed.issue.detail}`, { errors });
}

/** Objects above this depth have documented members. Below it, as in Stripe's `data.object.metadata`, the shop names the members. */
const objectLevels = 3;

/**
 * Finds lists, and objects whose members a shop names, that are far longer than any sender makes them.
 * The objects around them keep all members, because maps read those by name alone.
 */
const findWebhookExcess: FindExcess = ({ path, isArray, count }) =>
  count > limits.membersPerWebhookField && (isArray || path.length >= objectLevels)
    ? `has more than ${limits.membersPerWebhookField} members`
    : null;

const webhookResponseSchema = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    waiting: z.int().meta({
      description: 'Entries that wait until a request identifies their person. They are sent then.',
    }),
    dead_lettered: z.int().meta({ description: 'Cannot be sent as they stand: see dead letters.' }),
    skipped: z.array(z.string()).meta({ description: 'Why a part goes no further.' }),
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
      throw new ProblemError('invalid', 'nothing was taken');
  }
}
