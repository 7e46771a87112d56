import type {
  FastifyInstance,
  FastifyRequest,
  FastifySchemaCompiler,
  onRequestHookHandler,
} from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Issue } from '../../model/outcome.js';
import type { Lane } from '../../model/lane.js';
import type { AcceptedMany } from '../../ingest/accept.js';
import { acceptedManySchema, acceptedOneSchema } from './responses.js';
import { acceptTextBodies, acceptUtf8Bodies } from '../plugins/body.js';
import type { ServerDeps } from '../deps.js';
import { ProblemError, toProblemResponses, type ProblemKind } from '../plugins/problems.js';
import { manyQuery, oneQuery } from './queries.js';
import { findBackpressure, toBackpressureProblem } from '../plugins/backpressure.js';
import { toAcceptedManyBody, toAcceptedOneBody } from './response-bodies.js';

/** What tells the lanes apart at this edge. */
export type IngestLane = {
  readonly lane: Lane;
  readonly noun: string;
  readonly entry: z.ZodType;
};

const json = 'application/json';
const ndjson = ['application/x-ndjson', 'application/jsonl'] as const;

const refusals: readonly ProblemKind[] = [
  'invalid',
  'unauthorized',
  'forbidden',
  'timeout',
  'too-large',
  'unsupported-media-type',
  'over-quota',
  'unavailable',
];

/** POST /v1/{lane} and POST /v1/{lane}/batch. The scope's own hooks have checked the key. */
export function routeIngest(app: FastifyInstance, deps: ServerDeps, lane: IngestLane): void {
  app.addHook('onRequest', refuseEarly(deps, lane.lane));
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

/** `accept` checks bodies and ids; their schemas are here for the documentation alone. */
export const checkQueryOnly: FastifySchemaCompiler<z.ZodType> = (part) =>
  part.httpPart === 'querystring' ? validatorCompiler(part) : () => true;

/** Says no before a body is read, where the answer is known to be no. */
export function refuseEarly(deps: ServerDeps, lane: Lane): onRequestHookHandler {
  return (_request, reply, done) => {
    const backpressure = findBackpressure(deps);
    if (backpressure === null) {
      done();
      return;
    }
    deps.metrics.ingest.inc({ lane, outcome: 'refused' });
    if (deps.isDraining()) reply.raw.shouldKeepAlive = false;
    done(backpressure);
  };
}

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
    response: { 202: acceptedOneSchema, ...toProblemResponses(...refusals) },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${lane}`, { schema }, async (request, reply) => {
    const idempotencyKey = request.headers['idempotency-key'];
    const { backfill } = request.query;
    const answer = await accept.one(lane, toText(request), { idempotencyKey, backfill });
    switch (answer.kind) {
      case 'accepted':
        return reply.code(202).send(toAcceptedOneBody(answer));
      case 'invalid':
        throw toInvalid(`the ${noun} is not valid`, answer.errors);
      case 'backpressure':
        throw toBackpressureProblem(answer);
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
    body: toManyBody(ingest),
    response: { 202: acceptedManySchema, ...toProblemResponses(...refusals) },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${lane}/batch`, { schema }, async (request, reply) => {
    const { strict, ids: withIds, backfill } = request.query;
    const format = isNdjson(request) ? 'ndjson' : 'json';
    const answer = await accept.many(lane, toBytes(request), { format, strict, backfill });
    switch (answer.kind) {
      case 'accepted':
        return reply.code(202).send(toAcceptedManyBody(answer, { withIds }));
      case 'invalid':
        throw toInvalid(`nothing was taken: ${toWhy(answer, noun)}`, answer.errors);
      case 'backpressure':
        throw toBackpressureProblem(answer);
    }
  });
}

function toManyBody({ lane, noun, entry }: IngestLane) {
  const many = z.array(entry);
  const lines = z.string().meta({ description: `One ${noun} a line, in JSON.` });
  return {
    content: {
      [json]: { schema: z.union([z.object({ [lane]: many }), many]) },
      ...Object.fromEntries(ndjson.map((type) => [type, { schema: lines }])),
    },
  };
}

/** An absent body is an empty one: `accept` has the words for it. */
function toText({ body }: { readonly body: unknown }): string {
  return typeof body === 'string' ? body : '';
}

function toBytes({ body }: { readonly body: unknown }): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0);
}

function isNdjson({ headers }: Pick<FastifyRequest, 'headers'>): boolean {
  const type = headers['content-type']?.toLowerCase() ?? '';
  return ndjson.some((mediaType) => type.startsWith(mediaType));
}

function toWhy(
  { rejectedCount }: Extract<AcceptedMany, { kind: 'invalid' }>,
  noun: string,
): string {
  return rejectedCount === 0
    ? 'the body is not valid'
    : `${rejectedCount} ${noun}${rejectedCount === 1 ? ' is' : 's are'} not valid`;
}

function toInvalid(detail: string, errors: readonly Issue[]): ProblemError {
  return new ProblemError('invalid', detail, { errors });
}
