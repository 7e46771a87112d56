import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { moment } from './responses.js';
import type { HttpViews } from '../deps.js';
import { toProblemResponses } from '../plugins/problems.js';

const countSchema = z
  .object({
    source: z.string().meta({ examples: ['shopify'] }),
    kind: z.string().meta({
      description: "By the source's own name: a topic, a type of call.",
      examples: ['orders/create'],
    }),
    outcome: z
      .enum(['accepted', 'duplicate', 'waiting', 'skipped', 'altered', 'dead_lettered'])
      .meta({
        description:
          '`skipped`: not meant for Klaviyo, or nobody is named. `altered`: accepted, and a part of it could not be read or was changed. `waiting`: names a person that no request has told yet.',
      }),
    reason: z
      .string()
      .nullable()
      .meta({
        description: 'Stable and short; the guide of the source lists them.',
        examples: ['unreadable_amount'],
      }),
    count: z.int(),
    at: moment.meta({ description: 'When the newest one came.' }),
    example: z.string().nullable().meta({
      description: "The source's own id of the newest one: a delivery, a message.",
    }),
  })
  .meta({ id: 'SourceCount' });

const schema = {
  tags: ['sources'],
  operationId: 'list_sources',
  summary: 'What each source sent, and what became of it',
  description:
    'Counts of parts of requests since this relay started, by source, kind, outcome and reason.',
  response: {
    200: z.object({ data: z.array(countSchema) }).meta({ description: 'All of them.' }),
    ...toProblemResponses('unauthorized', 'forbidden'),
  },
};

/** GET /v1/sources. */
export function routeSources(app: FastifyInstance, { sources }: Pick<HttpViews, 'sources'>): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/sources', { schema }, () => ({
    data: sources().map((each) => ({ ...each, at: new Date(each.at).toISOString() })),
  }));
}
