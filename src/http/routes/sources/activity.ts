import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { HttpViews } from '../../deps.js';
import { toProblemResponses } from '../../plugins/problems.js';
import { momentSchema, toMoment } from '../schema-parts.js';

const countSchema = z
  .object({
    source: z.string().meta({ examples: ['shopify'] }),
    kind: z.string().meta({
      description: "The source's own name of it: a topic, a type of call.",
      examples: ['orders/create'],
    }),
    outcome: z
      .enum(['accepted', 'duplicate', 'waiting', 'skipped', 'altered', 'dead_lettered'])
      .meta({
        description:
          '`skipped`: not meant for Klaviyo, or without a person. `altered`: accepted, but a part could not be read or was changed. `waiting`: waits until another request identifies the person it names.',
      }),
    reason: z
      .string()
      .nullable()
      .meta({
        description: 'Short and stable; the guide of the source lists the reasons.',
        examples: ['unreadable_amount'],
      }),
    count: z.int(),
    at: momentSchema.meta({ description: 'When the newest one was received.' }),
    example: z.string().nullable().meta({
      description: "The source's own id of the newest one, such as a delivery or a message.",
    }),
  })
  .meta({ id: 'SourceCount' });

const schema = {
  tags: ['sources'],
  operationId: 'list_sources',
  summary: 'Count what each source sent, by outcome',
  description:
    'Counts of the parts of requests since this relay started, by source, kind, outcome and reason.',
  response: {
    200: z.object({ data: z.array(countSchema) }).meta({ description: 'All counts.' }),
    ...toProblemResponses('unauthorized', 'forbidden'),
  },
};

/** GET /v1/sources. */
export function routeSources(app: FastifyInstance, { sources }: Pick<HttpViews, 'sources'>): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/sources', { schema }, () => ({
    data: sources().map((each) => ({ ...each, at: toMoment(each.at) })),
  }));
}
