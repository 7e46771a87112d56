import type { FastifyInstance, FastifyRequest, FastifySchemaCompiler } from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { entryNames, postedSchemas } from '../../ingest/schema.js';
import type { Issue } from '../../model/outcome.js';
import { postedLanes, type PostedLane } from '../../model/lane.js';
import type { AcceptedMany, AcceptedOne } from '../../ingest/accept.js';
import { acceptTextBodies, acceptUtf8Bodies } from '../plugins/body.js';
import type { ServerDeps } from '../deps.js';
import {
  issueSchema,
  ProblemError,
  toProblemResponses,
  type ProblemKind,
} from '../plugins/problems.js';
import { toFlagQuery, toOptionalFlagQuery } from './schema-parts.js';
import { rejectOnBackpressure, toBackpressureProblem } from '../plugins/backpressure.js';

/** A lane to which callers post, as its routes and their documentation name it. */
type IngestLane = {
  readonly lane: PostedLane;
  readonly noun: string;
  /** The noun in the plural; also the last part of the path. */
  readonly path: string;
  readonly entry: z.ZodType;
};

/** The ids put the schemas among the components of the OpenAPI document. */
export const ingestLanes: readonly IngestLane[] = postedLanes.map((lane) => {
  const { one, many } = entryNames[lane];
  const schema: z.ZodType = postedSchemas[lane];
  const id = `${one.charAt(0).toUpperCase()}${one.slice(1)}`;
  return { lane, noun: one, path: many, entry: schema.meta({ ...schema.meta(), id }) };
});

const backfill = toOptionalFlagQuery(
  'True: Klaviyo records the events without triggering flows, whatever their age. False: it triggers flows. Absent: events older than BACKFILL_AFTER trigger none.',
);

type OneQuery = { readonly backfill?: boolean | undefined };
type ManyQuery = OneQuery & { readonly strict: boolean; readonly ids: boolean };

const oneQuery = (lane: PostedLane): z.ZodType<OneQuery> =>
  lane === 'events' ? z.strictObject({ backfill }) : z.strictObject({});

const manyParameters = {
  strict: toFlagQuery('All or nothing: one invalid entry rejects the whole request.'),
  ids: toFlagQuery('List the ids of the accepted entries.'),
};

const manyQuery = (lane: PostedLane): z.ZodType<ManyQuery> =>
  lane === 'events'
    ? z.strictObject({ ...manyParameters, backfill })
    : z.strictObject(manyParameters);

const acceptedOneSchema = z
  .object({
    id: z.string().meta({ description: 'Look it up under /v1/receipts/{id}.' }),
    status: z.enum(['accepted', 'duplicate']),
    lists: z.array(z.string()).optional().meta({
      description: 'Of a profile with `lists`: the id of each addition, for /v1/receipts/{id}.',
    }),
    remove_from_lists: z.array(z.string()).optional().meta({
      description:
        'Of a profile with `remove_from_lists`: the id of each removal, for /v1/receipts/{id}.',
    }),
    warnings: z.array(issueSchema).optional(),
  })
  .meta({ id: 'Accepted', description: 'Stored safely.' });

function toAcceptedOneBody({
  id,
  listIds,
  removalIds,
  duplicate,
  warnings,
}: Extract<AcceptedOne, { kind: 'accepted' }>): z.output<typeof acceptedOneSchema> {
  const status = duplicate ? 'duplicate' : 'accepted';
  return {
    id,
    status,
    ...(listIds.length > 0 && { lists: [...listIds] }),
    ...(removalIds.length > 0 && { remove_from_lists: [...removalIds] }),
    ...(warnings.length > 0 && { warnings: [...warnings] }),
  };
}

const acceptedManySchema = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    rejected: z.array(
      z.object({
        index: z.int().meta({ description: 'Index within the request, from 0.' }),
        errors: z.array(issueSchema),
      }),
    ),
    rejected_unlisted: z.int().optional().meta({
      description:
        'Number of rejected entries that `rejected` does not list, because it is bounded.',
    }),
    warnings: z.array(z.object({ index: z.int(), warnings: z.array(issueSchema) })).optional(),
    warnings_unlisted: z
      .int()
      .optional()
      .meta({ description: 'Number of entries with warnings that `warnings` does not list.' }),
    ids: z
      .array(z.string())
      .optional()
      .meta({ description: 'With ?ids=true: one id for each accepted entry, in request order.' }),
  })
  .meta({
    id: 'AcceptedMany',
    description: 'All entries that were not rejected are stored safely.',
  });

function toAcceptedManyBody(
  result: Extract<AcceptedMany, { kind: 'accepted' }>,
  { withIds }: { readonly withIds: boolean },
): z.output<typeof acceptedManySchema> {
  const { accepted, duplicates, ids, rejected, rejectedCount, warnings, warningCount } = result;
  return {
    accepted,
    duplicates,
    rejected: rejected.map(({ index, errors }) => ({ index, errors: [...errors] })),
    ...(rejectedCount > rejected.length && {
      rejected_unlisted: rejectedCount - rejected.length,
    }),
    ...(warnings.length > 0 && {
      warnings: warnings.map((each) => ({ index: each.index, warnings: [...each.warnings] })),
    }),
    ...(warningCount > warnings.length && { warnings_unlisted: warningCount - warnings.length }),
    ...(withIds && { ids: [...ids] }),
  };
}

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
 * POST /v1/{path} and POST /v1/{path}/batch. The hooks of the scope have checked the key before.
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
  const { lane, noun, path, entry } = ingest;
  const schema = {
    tags: [path],
    operationId: `accept_${noun}`,
    summary: `Accept one ${noun}`,
    description:
      lane === 'events'
        ? '202 means that it is stored safely. Without an `insert_id`, `Idempotency-Key` is the id of the event.'
        : '202 means that it is stored safely.',
    headers: z.object({ 'idempotency-key': z.string().max(255).optional() }),
    querystring: oneQuery(lane),
    body: entry,
    response: { 202: acceptedOneSchema, ...toProblemResponses(...ingestProblems) },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${path}`, { schema }, async (request, reply) => {
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
  const { lane, noun, path } = ingest;
  const schema = {
    tags: [path],
    operationId: `accept_${path}`,
    summary: `Accept many ${path}`,
    description: `Valid ${path} are accepted, and \`rejected\` lists the others; 400 if none is valid.`,
    querystring: manyQuery(lane),
    body: documentManyBody(ingest),
    response: { 202: acceptedManySchema, ...toProblemResponses(...ingestProblems) },
  };
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post(`/v1/${path}/batch`, { schema }, async (request, reply) => {
    const { strict, ids: withIds, backfill } = request.query;
    const format = isNdjson(request) ? 'ndjson' : 'json';
    const result = await accept.many(lane, readBytesBody(request), { format, strict, backfill });
    switch (result.kind) {
      case 'accepted':
        return reply.code(202).send(toAcceptedManyBody(result, { withIds }));
      case 'invalid':
        throw createInvalid(
          `nothing was accepted: ${describeRejected(result, noun)}`,
          result.errors,
        );
      case 'backpressure':
        throw toBackpressureProblem(result);
    }
  });
}

function documentManyBody({ path, noun, entry }: IngestLane) {
  const many = z.array(entry);
  const lines = z.string().meta({ description: `One ${noun} per line, as JSON.` });
  return {
    content: {
      [json]: { schema: z.union([z.object({ [path]: many }), many]) },
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
