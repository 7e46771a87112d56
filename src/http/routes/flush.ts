import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { flushSchema } from './responses.js';
import type { ServerDeps } from '../deps.js';
import { toProblemResponses } from '../plugins/problems.js';
import { flushQuery } from './queries.js';

const schema = {
  tags: ['flush'],
  operationId: 'flush',
  summary: 'Let what is buffered leave now',
  description: 'Still within the rate limits. Without `lane`: every lane.',
  querystring: flushQuery,
  response: { 202: flushSchema, ...toProblemResponses('invalid', 'unauthorized', 'forbidden') },
};

/** 202 and no counts: batches leave when the limiter lets them, long after this answer. */
export function routeFlush(app: FastifyInstance, { flush }: Pick<ServerDeps, 'flush'>): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post('/v1/flush', { schema }, async ({ query }, reply) => {
    flush(query.lane);
    return reply.code(202).send({ status: 'flushing' });
  });
}
