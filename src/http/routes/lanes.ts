import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ServerDeps } from '../deps.js';
import { toProblemResponses } from '../plugins/problems.js';
import { laneSchema } from './schema-parts.js';

/**
 * Control of the lanes: flush, pause and resume. Each responds 202 at once. The effect comes later: a
 * request that is in flight ends first, and the next one waits for the limiter.
 */

const problems = toProblemResponses('invalid', 'unauthorized', 'forbidden');

const flushSchema = {
  tags: ['flush'],
  operationId: 'flush',
  summary: 'Send what is buffered now',
  description: 'Rate limits still apply. Without `lane`, all lanes are flushed.',
  querystring: z.strictObject({ lane: laneSchema.optional() }),
  response: {
    202: z.object({ status: z.literal('flushing') }).meta({
      id: 'Flushing',
      description: 'All batches are closed now, even if they are not full.',
    }),
    ...problems,
  },
};

const laneParams = z.object({ lane: laneSchema });

const pauseSchema = {
  tags: ['lanes'],
  operationId: 'pause_lane',
  summary: 'Pause a lane by hand',
  description:
    'The relay goes on accepting and keeps what it accepts. Nothing of the lane is sent until it is resumed or the relay restarts. With several relays, each one is paused separately.',
  params: laneParams,
  response: {
    202: z
      .object({ lane: laneSchema, status: z.literal('paused') })
      .meta({ id: 'LanePaused', description: 'The lane starts no further request.' }),
    ...problems,
  },
};

const resumeSchema = {
  tags: ['lanes'],
  operationId: 'resume_lane',
  summary: 'End the pause of a lane',
  description:
    'Ends a pause by hand, and a pause because Klaviyo rejected nearly everything for one reason. In the second case, what Klaviyo rejects for that reason becomes a dead letter from now on, until something is delivered or everything that was buffered has been sent. A pause for an outage, a key or a rate limit ends by itself.',
  params: laneParams,
  response: {
    202: z.object({ lane: laneSchema, status: z.literal('resumed') }).meta({
      id: 'LaneResumed',
      description: 'The lane sends again, unless a pause that ends by itself still holds.',
    }),
    ...problems,
  },
};

/** POST /v1/flush and POST /v1/lanes/{lane}/pause and /resume. */
export function routeLanes(
  app: FastifyInstance,
  { flush, pauseLane, resumeLane }: Pick<ServerDeps, 'flush' | 'pauseLane' | 'resumeLane'>,
): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post('/v1/flush', { schema: flushSchema }, async ({ query }, reply) => {
    flush(query.lane);
    return reply.code(202).send({ status: 'flushing' });
  });
  routes.post('/v1/lanes/:lane/pause', { schema: pauseSchema }, async ({ params }, reply) => {
    pauseLane(params.lane);
    return reply.code(202).send({ lane: params.lane, status: 'paused' });
  });
  routes.post('/v1/lanes/:lane/resume', { schema: resumeSchema }, async ({ params }, reply) => {
    resumeLane(params.lane);
    return reply.code(202).send({ lane: params.lane, status: 'resumed' });
  });
}
