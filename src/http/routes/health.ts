import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ServerDeps } from '../deps.js';

/**
 * Routes for probes and scrapers. They need no key: no metric and no check names a caller, a person or a
 * secret.
 *
 * Liveness checks nothing but that the process responds. An orchestrator that restarted the relay because
 * the store is slow or Klaviyo is down would lose what a memory store holds. Readiness has checks; if one
 * fails, the load balancer sends no requests to this relay.
 */

const liveSchema = {
  tags: ['operation'],
  operationId: 'live',
  summary: 'Liveness probe: the process responds',
  security: [],
  response: {
    200: z
      .object({ status: z.literal('ok') })
      .meta({ id: 'Liveness', description: 'The process responds.' }),
  },
};

const readinessSchema = z
  .object({
    status: z.enum(['ready', 'not_ready']),
    checks: z.record(z.string(), z.object({ ok: z.boolean(), detail: z.string().optional() })),
  })
  .meta({ id: 'Readiness', description: 'The checks, and the status that results from them.' });

const readySchema = {
  tags: ['operation'],
  operationId: 'ready',
  summary: 'Readiness probe: the relay can accept requests',
  description: 'The relay stays ready while Klaviyo is down, as long as the buffer has capacity.',
  security: [],
  response: { 200: readinessSchema, 503: readinessSchema },
};

const metricsSchema = {
  tags: ['operation'],
  operationId: 'metrics',
  summary: 'Metrics for Prometheus',
  security: [],
  response: {
    200: {
      description: 'Text exposition format.',
      content: { 'text/plain': { schema: z.string() } },
    },
  },
};

/** GET /livez, /readyz and /metrics. */
export function routeHealth(
  app: FastifyInstance,
  { readiness, isDraining, metrics }: Pick<ServerDeps, 'readiness' | 'isDraining' | 'metrics'>,
): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/livez', { schema: liveSchema }, () => ({ status: 'ok' as const }));
  routes.get('/readyz', { schema: readySchema }, (_request, reply) => {
    const { ready, checks } = readiness();
    const isReady = ready && !isDraining();
    const status: 'ready' | 'not_ready' = isReady ? 'ready' : 'not_ready';
    void reply.code(isReady ? 200 : 503).send({ status, checks: { ...checks } });
  });
  app.get('/metrics', { schema: metricsSchema }, async (_request, reply) =>
    reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  );
}
