import type { FastifyInstance, FastifyRequest, FastifySchemaCompiler } from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { eventSchema, profileSchema } from '../../ingest/schema.js';
import type { Issue } from '../../model/outcome.js';
import type { Lane } from '../../model/lane.js';
import type { AcceptedMany } from '../../ingest/accept.js';
import { acceptedManySchema, acceptedOneSchema } from './responses.js';
import { acceptTextBodies, acceptUtf8Bodies } from '../plugins/body.js';
import type { ServerDeps } from '../deps.js';
import { ProblemError, toProblemResponses, type ProblemKind } from '../plugins/problems.js';
import { manyQuery, oneQuery } from './queries.js';
import { rejectOnBackpressure, toBackpressureProblem } from '../plugins/backpressure.js';
import { toAcceptedManyBody, toAcceptedOneBody } from './response-bodies.js';

/** A lane to which callers post, as its routes and their documentation name it. */
type IngestLane = {
  readonly lane: Lane;
  readonly noun: string;
  readonly entry: z.ZodType;
};

/** The ids put the schemas among the components of the OpenAPI document. */
export const ingestLanes: readonly IngestLane[] = [
  {
    lane: 'events',
    noun: 'event',
    entry: eventSchema.meta({ ...eventSchema.meta(), id: 'Event' }),
  },
  {
    lane: 'profiles',
    noun: 'profile',
    entry: profileSchema.meta({ ...profileSchema.meta(), id: 'Profile' }),
  },
];

const json = 'application/json';
const ndjson = ['application/x-ndjson', 'application/jsonl'] as const;

const ingestProblems: readonly ProblemKind[] = [
  'invalid',
  'unauthorized',
  'forbidden',
  'timeout',
  'too-large',
  'unsupported-media-type',
  'over-quota',
  'unavailable',
];

/**
 * POST /v1/{lane} and POST /v1/{lane}/batch. The hooks of the scope have checked the key before.
 *
 * Backpressure is checked twice. The early check saves reading a body that the store would not accept;
 * `append` decides, because the store may fill up while the body arrives. Each request is counted by one
 * of the two.
 */
export function routeIngest(app: FastifyInstance, deps: ServerDeps, lane: IngestLane): void {
  app.addHook('onRequest', rejectOnBackpressure(deps, lane.lane));
  app.setValidatorCompiler(checkQueryOnly);
  const limitBytes = deps.config.BODY_LIMIT_BYTES;
  app.register((scope, _options, done) => {
    acceptTextBodies(scope, { mediaTypes: [json], limitBytes });
    routeOne(scope, deps, lane);
    done();
  });
  app.register((scope, _options, done) => {
    acceptUtf8Bodies(scope, { mediaTypes: [json, ...ndjson], limitBytes });
    routeMany(scope, deps, lane);
    done();
  });
}

/** Validates the query only: `accept` validates bodies and ids, and their schemas are for the documentation. */
export const checkQueryOnly: FastifySchemaCompiler<z.ZodType> = (part) =>
  part.httpPart === 'querystring' ? validatorCompiler(part) : () => true;

function routeOne(app: FastifyInstance, { accept }: ServerDeps, ingest: IngestLane): void {
  const { lane, noun, entry } = ingest;
  const schema = {
    tags: [lane],
    operationId: `accept_${noun}`,
    summary: `Accept one ${noun}`,
    description:
      '202 means that it is safe in the store. `Idempotency-Key` names it where it has no `insert_id`.',
    headers: z.object({ 'idempotency-key': z.string().max(255).optional() }),
    querystring: oneQuery[lane],
    body: entry,
    response: { 202: acceptedOneSchema, ...toProblemResponses(...ingestProblems) },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${lane}`, { schema }, async (request, reply) => {
    const idempotencyKey = request.headers['idempotency-key'];
    const { backfill } = request.query;
    const result = await accept.one(lane, readTextBody(request), { idempotencyKey, backfill });
    switch (result.kind) {
      case 'accepted':
        return reply.code(202).send(toAcceptedOneBody(result));
      case 'invalid':
        throw createInvalid(`the ${noun} is not valid`, result.errors);
      case 'backpressure':
        throw toBackpressureProblem(result);
    }
  });
}

function routeMany(app: FastifyInstance, { accept }: ServerDeps, ingest: IngestLane): void {
  const { lane, noun } = ingest;
  const schema = {
    tags: [lane],
    operationId: `accept_${lane}`,
    summary: `Accept many ${lane}`,
    description: `Valid ones are taken, the others are listed in \`rejected\`; 400 if none is valid.`,
    querystring: manyQuery[lane],
    body: documentManyBody(ingest),
    response: { 202: acceptedManySchema, ...toProblemResponses(...ingestProblems) },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${lane}/batch`, { schema }, async (request, reply) => {
    const { strict, ids: withIds, backfill } = request.query;
    const format = isNdjson(request) ? 'ndjson' : 'json';
    const result = await accept.many(lane, readBytesBody(request), { format, strict, backfill });
    switch (result.kind) {
      case 'accepted':
        return reply.code(202).send(toAcceptedManyBody(result, { withIds }));
      case 'invalid':
        throw createInvalid(`nothing was taken: ${describeRejected(result, noun)}`, result.errors);
      case 'backpressure':
        throw toBackpressureProblem(result);
    }
  });
}

function documentManyBody({ lane, noun, entry }: IngestLane) {
  const many = z.array(entry);
  const lines = z.string().meta({ description: `One ${noun} a line, in JSON.` });
  return {
    content: {
      [json]: { schema: z.union([z.object({ [lane]: many }), many]) },
      ...Object.fromEntries(ndjson.map((type) => [type, { schema: lines }])),
    },
  };
}

/** An absent body counts as an empty one, for which `accept` has the error text. */
function readTextBody({ body }: { readonly body: unknown }): string {
  return typeof body === 'string' ? body : '';
}

function readBytesBody({ body }: { readonly body: unknown }): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0);
}

function isNdjson({ headers }: Pick<FastifyRequest, 'headers'>): boolean {
  const type = headers['content-type']?.toLowerCase() ?? '';
  return ndjson.some((mediaType) => type.startsWith(mediaType));
}

function describeRejected(
  { rejectedCount }: Extract<AcceptedMany, { kind: 'invalid' }>,
  noun: string,
): string {
  return rejectedCount === 0
    ? 'the body is not valid'
    : `${rejectedCount} ${noun}${rejectedCount === 1 ? ' is' : 's are'} not valid`;
}

function createInvalid(detail: string, errors: readonly Issue[]): ProblemError {
  return new ProblemError('invalid', detail, { errors });
}
