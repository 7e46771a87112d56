import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Metrics } from '../../metrics.js';

const schema = {
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

/** Open, as interface.md has it: no metric names a caller, a person or a secret. */
export function routeMetrics(app: FastifyInstance, { registry }: Pick<Metrics, 'registry'>): void {
  app.get('/metrics', { schema }, async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
}
