import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { DeadLetter } from '../../model/dead-letter.js';
import type { StoreLane } from '../../model/lane.js';
import type { HttpViews } from '../deps.js';
import { toBackpressureProblem } from '../plugins/backpressure.js';
import { ProblemError, toNotFound, toProblemResponses } from '../plugins/problems.js';
import {
  filterQuery,
  idParams,
  laneSchema,
  momentSchema,
  pageQuery,
  reasonSchema,
  toMoment,
  toPageSchema,
  toPageText,
  toReasonBody,
  toFlagQuery,
  toTextResponse,
} from './schema-parts.js';

type Views = Pick<HttpViews, 'deadLetters' | 'deadLetter' | 'redrive' | 'discard'>;

/**
 * Dead letters: list, get, redrive, discard. A redrive and a discard can change many at once, so each
 * needs an explicit filter: all of them are selected only by `{}` or `all=true`, and a misspelt filter
 * is rejected.
 */
export function routeDeadLetters(app: FastifyInstance, views: Views): void {
  routeReads(app, views);
  routeRedrives(app, views);
  routeDiscards(app, views);
}

const deadLetterSchema = z
  .object({
    id: z.string(),
    lane: laneSchema,
    accepted_at: momentSchema,
    buried_at: momentSchema,
    attempts: z.int(),
    delivery_id: z.string().nullable(),
    reason: reasonSchema,
    payload: z.record(z.string(), z.unknown()).meta({ description: "In Klaviyo's form." }),
  })
  .meta({
    id: 'DeadLetter',
    description:
      'An event or profile that the relay gave up on. It is kept until you redrive or discard it.',
  });

/**
 * JSON text of a dead letter. The payload is inserted as the stored text: parsing it would round integers
 * that a JavaScript number cannot hold, and the response must show what was or will be sent.
 */
function toDeadLetterText(deadLetter: DeadLetter): string {
  const head: Omit<z.output<typeof deadLetterSchema>, 'payload' | 'lane'> & {
    readonly lane: StoreLane;
  } = {
    id: deadLetter.id,
    lane: deadLetter.lane,
    accepted_at: toMoment(deadLetter.acceptedAt),
    buried_at: toMoment(deadLetter.deadLetteredAt),
    attempts: deadLetter.attempts,
    delivery_id: deadLetter.deliveryId,
    reason: toReasonBody(deadLetter.reason),
  };
  const { buffer, byteOffset, byteLength } = deadLetter.payload;
  const payload = Buffer.from(buffer, byteOffset, byteLength).toString('utf8');
  return `${JSON.stringify(head).slice(0, -1)},"payload":${payload}}`;
}

const tags = ['dead letters'];
const accessProblems = toProblemResponses('unauthorized', 'forbidden');
const unknownId = 'no dead letter has this id';

const listSchema = {
  tags,
  operationId: 'list_dead_letters',
  summary: 'List dead letters, newest first',
  querystring: z.strictObject({ ...pageQuery, ...filterQuery }),
  response: {
    200: toTextResponse('A page of the list.', toPageSchema(deadLetterSchema)),
    ...toProblemResponses('invalid'),
    ...accessProblems,
  },
};

const oneSchema = {
  tags,
  operationId: 'get_dead_letter',
  summary: 'Get one dead letter',
  params: idParams,
  response: {
    200: toTextResponse('The dead letter.', deadLetterSchema),
    ...toProblemResponses('invalid'),
    ...accessProblems,
    ...toProblemResponses('not-found'),
  },
};

function routeReads(app: FastifyInstance, views: Views): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/dead-letters', { schema: listSchema }, async ({ query }, reply) => {
    const { limit, cursor, ...filter } = query;
    const page = await views.deadLetters(filter, { limit, cursor });
    return reply.type('application/json').send(toPageText(page, toDeadLetterText));
  });
  routes.get('/v1/dead-letters/:id', { schema: oneSchema }, async ({ params }, reply) => {
    const deadLetter = await views.deadLetter(params.id);
    if (deadLetter === null) throw toNotFound(unknownId);
    return reply.type('application/json').send(toDeadLetterText(deadLetter));
  });
}

/** The filter is in the body and not in the query: a proxy would reject a URL with thousands of ids. */
const redriveBody = z
  .strictObject({
    filter: z
      .strictObject(
        {
          lane: filterQuery.lane,
          reason: filterQuery.reason,
          ids: z.array(z.string().max(200)).max(10_000).optional(),
          since: filterQuery.since,
          until: filterQuery.until,
        },
        { error: 'must be an object; {} selects all of them' },
      )
      .meta({ description: 'All given members must match; `{}` selects all dead letters.' }),
    dry_run: z.boolean().default(false).meta({ description: 'Only count the matches.' }),
  })
  .meta({ id: 'Redrive' });

const redrivenSchema = z
  .object({ matched: z.int(), redriven: z.int(), dry_run: z.boolean() })
  .meta({ id: 'Redriven', description: 'They are in the buffer again, unless it was a dry run.' });

const redriveSchema = {
  tags,
  operationId: 'redrive_dead_letters',
  summary: 'Send dead letters again',
  description:
    'Their attempts start at zero. An entry that was never sent because no request had identified its person is mapped again. If the person is still unknown, it stays a dead letter, and fewer are redriven than matched.',
  body: redriveBody,
  response: {
    200: redrivenSchema,
    ...toProblemResponses('invalid'),
    ...accessProblems,
    ...toProblemResponses('timeout', 'too-large', 'unsupported-media-type'),
  },
};

const redriveOneSchema = {
  tags,
  operationId: 'redrive_dead_letter',
  summary: 'Send one dead letter again',
  params: idParams,
  response: {
    200: redrivenSchema,
    ...toProblemResponses('invalid'),
    ...accessProblems,
    ...toProblemResponses('not-found'),
  },
};

function routeRedrives(app: FastifyInstance, views: Views): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post('/v1/dead-letters/redrive', { schema: redriveSchema }, async ({ body }) => {
    const { filter, dry_run: dryRun } = body;
    return toRedriven(await views.redrive(filter, { dryRun }), dryRun);
  });
  // A dry run for one dead letter would show no more than GET does.
  routes.post('/v1/dead-letters/:id/redrive', { schema: redriveOneSchema }, async ({ params }) => {
    const redriven = await views.redrive({ ids: [params.id] }, { dryRun: false });
    if (redriven.matched === 0) throw toNotFound(unknownId);
    return toRedriven(redriven, false);
  });
}

function toRedriven(
  { matched, redriven, backpressure }: Awaited<ReturnType<Views['redrive']>>,
  dryRun: boolean,
) {
  if (backpressure !== null) throw toBackpressureProblem(backpressure);
  return { matched, redriven, dry_run: dryRun };
}

const discardQuery = z.strictObject({
  lane: filterQuery.lane,
  reason: filterQuery.reason,
  ids: z
    .string()
    .transform((list) => list.split(','))
    .optional()
    .meta({ description: 'Comma-separated.' }),
  since: filterQuery.since,
  until: filterQuery.until,
  all: toFlagQuery('Discards all dead letters. Required if no filter is given.'),
  dry_run: toFlagQuery('Only count the matches.'),
});

const discardedSchema = z
  .object({ matched: z.int(), discarded: z.int(), dry_run: z.boolean() })
  .meta({ id: 'Discarded', description: 'They are deleted, unless it was a dry run.' });

const discardSchema = {
  tags,
  operationId: 'discard_dead_letters',
  summary: 'Delete dead letters',
  description: 'Needs at least one filter, or `all=true`.',
  querystring: discardQuery,
  response: { 200: discardedSchema, ...toProblemResponses('invalid'), ...accessProblems },
};

const discardOneSchema = {
  tags,
  operationId: 'discard_dead_letter',
  summary: 'Delete one dead letter',
  params: idParams,
  response: {
    204: z.null().meta({ description: 'Discarded.' }),
    ...toProblemResponses('invalid'),
    ...accessProblems,
    ...toProblemResponses('not-found'),
  },
};

function routeDiscards(app: FastifyInstance, views: Views): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.delete('/v1/dead-letters', { schema: discardSchema }, async ({ query }) => {
    const { all, dry_run: dryRun, ...filter } = query;
    // `all` together with a filter is rejected, too, because the two contradict each other.
    const isEmpty = Object.values(filter).every((value) => value === undefined);
    if (isEmpty === !all) {
      throw new ProblemError('invalid', 'give a filter, or all=true without one');
    }
    const matched = await views.discard(filter, { dryRun });
    return { matched, discarded: dryRun ? 0 : matched, dry_run: dryRun };
  });
  routes.delete('/v1/dead-letters/:id', { schema: discardOneSchema }, async ({ params }, reply) => {
    const matched = await views.discard({ ids: [params.id] }, { dryRun: false });
    if (matched === 0) throw toNotFound(unknownId);
    return reply.code(204).send(null);
  });
}
