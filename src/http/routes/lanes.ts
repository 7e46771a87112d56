import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { lanePausedSchema, laneResumedSchema } from './responses.js';
import type { ServerDeps } from '../deps.js';
import { toProblemResponses } from '../plugins/problems.js';
import { laneParams } from './queries.js';

const problems = toProblemResponses('invalid', 'unauthorized', 'forbidden');

const pauseSchema = {
  tags: ['lanes'],
  operationId: 'pause_lane',
  summary: 'Pause a lane by hand',
  description:
    'Intake goes on, and what is accepted is kept. Nothing of the lane is sent until it is resumed or the relay restarts; with several relays, each is paused by itself.',
  params: laneParams,
  response: { 202: lanePausedSchema, ...problems },
};

const resumeSchema = {
  tags: ['lanes'],
  operationId: 'resume_lane',
  summary: 'End the pause of a lane',
  description:
    'Ends a pause by hand, and one because Klaviyo rejected nearly everything for one reason: what it rejects for that reason then becomes a dead letter, until something is delivered or all that waited was sent. A pause for an outage, a key or a rate ends by itself.',
  params: laneParams,
  response: { 202: laneResumedSchema, ...problems },
};

/** 202: a request that is under way ends first, and the next one waits for the limiter. */
export function routeLanes(
  app: FastifyInstance,
  { pauseLane, resumeLane }: Pick<ServerDeps, 'pauseLane' | 'resumeLane'>,
): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.post('/v1/lanes/:lane/pause', { schema: pauseSchema }, async ({ params }, reply) => {
    pauseLane(params.lane);
    return reply.code(202).send({ lane: params.lane, status: 'paused' });
  });
  routes.post('/v1/lanes/:lane/resume', { schema: resumeSchema }, async ({ params }, reply) => {
    resumeLane(params.lane);
    return reply.code(202).send({ lane: params.lane, status: 'resumed' });
  });
}
