import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { livenessSchema, readinessSchema } from './responses.js';
import type { ServerDeps } from '../deps.js';

const liveSchema = {
  tags: ['operation'],
  operationId: 'live',
  summary: 'The relay is alive',
  security: [],
  response: { 200: livenessSchema },
};

const readySchema = {
  tags: ['operation'],
  operationId: 'ready',
  summary: 'The relay is willing and able to accept',
  description: 'Klaviyo being down does not make it unready while there is room.',
  security: [],
  response: { 200: readinessSchema, 503: readinessSchema },
};

/**
 * Liveness asks nothing of anybody: an orchestrator that restarts the relay for a slow store or for
 * Klaviyo's sake would only lose what a memory store holds. Readiness is what takes it out of rotation.
 */
export function routeHealth(
  app: FastifyInstance,
  deps: Pick<ServerDeps, 'readiness' | 'isDraining'>,
): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/livez', { schema: liveSchema }, () => ({ status: 'ok' as const }));
  routes.get('/readyz', { schema: readySchema }, (_request, reply) => {
    const { ready, checks } = deps.readiness();
    const isReady = ready && !deps.isDraining();
    const status: 'ready' | 'not_ready' = isReady ? 'ready' : 'not_ready';
    void reply.code(isReady ? 200 : 503).send({ status, checks: { ...checks } });
  });
}
