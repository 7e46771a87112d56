import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import {
  deadLetterSchema,
  discardedSchema,
  redrivenSchema,
  toPageSchema,
  toTextResponse,
} from './responses.js';
import type { HttpViews } from '../deps.js';
import { toBackpressureProblem } from '../plugins/backpressure.js';
import { toNotFound } from '../plugins/errors.js';
import { ProblemError, toProblemResponses } from '../plugins/problems.js';
import { deadLettersQuery, discardQuery, idParams, redriveBody } from './queries.js';
import { toDeadLetterText, toPageText } from './response-bodies.js';

type Views = Pick<HttpViews, 'deadLetters' | 'deadLetter' | 'redrive' | 'discard'>;

/**
 * Looking, sending again, discarding. The last two change many at once, so each wants its filter said:
 * an empty one must be there as `{}` or `all=true`, and a misspelt one is refused.
 */
export function routeDeadLetters(app: FastifyInstance, views: Views): void {
  routeLooks(app, views);
  routeRedrives(app, views);
  routeDiscards(app, views);
}

const tags = ['dead letters'];
const denials = toProblemResponses('unauthorized', 'forbidden');
const unknownLetter = 'no dead letter has this id';

const listSchema = {
  tags,
  operationId: 'list_dead_letters',
  summary: 'What the relay gave up on, newest first',
  querystring: deadLettersQuery,
  response: {
    200: toTextResponse('A page.', toPageSchema(deadLetterSchema)),
    ...toProblemResponses('invalid'),
    ...denials,
  },
};

const oneSchema = {
  tags,
  operationId: 'get_dead_letter',
  summary: 'One dead letter',
  params: idParams,
  response: {
    200: toTextResponse('The dead letter.', deadLetterSchema),
    ...toProblemResponses('invalid'),
    ...denials,
    ...toProblemResponses('not-found'),
  },
};

function routeLooks(app: FastifyInstance, views: Views): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/dead-letters', { schema: listSchema }, async ({ query }, reply) => {
    const { limit, cursor, ...filter } = query;
    const page = await views.deadLetters(filter, { limit, cursor });
    return reply.type('application/json').send(toPageText(page, toDeadLetterText));
  });
  routes.get('/v1/dead-letters/:id', { schema: oneSchema }, async ({ params }, reply) => {
    const letter = await views.deadLetter(params.id);
    if (letter === null) throw toNotFound(unknownLetter);
    return reply.type('application/json').send(toDeadLetterText(letter));
  });
}

const redriveSchema = {
  tags,
  operationId: 'redrive_dead_letters',
  summary: 'Send dead letters again',
  description:
    'Their attempts start at zero. A webhook that named nobody is tried again; while it still does, it stays, and fewer are redriven than matched.',
  body: redriveBody,
  response: {
    200: redrivenSchema,
    ...toProblemResponses('invalid'),
    ...denials,
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
    ...denials,
    ...toProblemResponses('not-found'),
  },
};

function routeRedrives(app: FastifyInstance, views: Views): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post('/v1/dead-letters/redrive', { schema: redriveSchema }, async ({ body }) => {
    const { filter, dry_run: dryRun } = body;
    return toRedriven(await views.redrive(filter, { dryRun }), dryRun);
  });
  // One letter has no dry run: looking at it says as much.
  routes.post('/v1/dead-letters/:id/redrive', { schema: redriveOneSchema }, async ({ params }) => {
    const redriven = await views.redrive({ ids: [params.id] }, { dryRun: false });
    if (redriven.matched === 0) throw toNotFound(unknownLetter);
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

const discardSchema = {
  tags,
  operationId: 'discard_dead_letters',
  summary: 'Discard dead letters for good',
  description: 'Needs at least one filter, or `all=true`.',
  querystring: discardQuery,
  response: { 200: discardedSchema, ...toProblemResponses('invalid'), ...denials },
};

const discardOneSchema = {
  tags,
  operationId: 'discard_dead_letter',
  summary: 'Discard one dead letter for good',
  params: idParams,
  response: {
    204: z.null().meta({ description: 'Discarded.' }),
    ...toProblemResponses('invalid'),
    ...denials,
    ...toProblemResponses('not-found'),
  },
};

function routeDiscards(app: FastifyInstance, views: Views): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.delete('/v1/dead-letters', { schema: discardSchema }, async ({ query }) => {
    const { all, dry_run: dryRun, ...filter } = query;
    // `all` beside a filter is refused as well: which of the two was meant is anybody's guess.
    const isEmpty = Object.values(filter).every((value) => value === undefined);
    if (isEmpty === !all) {
      throw new ProblemError('invalid', 'give a filter, or all=true without one');
    }
    const matched = await views.discard(filter, { dryRun });
    return { matched, discarded: dryRun ? 0 : matched, dry_run: dryRun };
  });
  routes.delete('/v1/dead-letters/:id', { schema: discardOneSchema }, async ({ params }, reply) => {
    const matched = await views.discard({ ids: [params.id] }, { dryRun: false });
    if (matched === 0) throw toNotFound(unknownLetter);
    return reply.code(204).send(null);
  });
}
