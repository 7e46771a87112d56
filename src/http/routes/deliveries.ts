import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Delivery } from '../../model/delivery.js';
import type { HttpViews } from '../deps.js';
import { toNotFound, toProblemResponses } from '../plugins/problems.js';
import {
  filterQuery,
  idParams,
  laneSchema,
  momentSchema,
  pageQuery,
  reasonSchema,
  toMoment,
  toPageSchema,
  toReasonOrNull,
} from './schema-parts.js';

const resultSchema = z.enum([
  'delivered',
  'pending',
  'partial',
  'retried',
  'rejected',
  'blocked',
  'unchanged',
]);

const { lane, since, until } = filterQuery;
const deliveriesQuery = z.strictObject({
  ...pageQuery,
  lane,
  result: resultSchema.optional(),
  since,
  until,
});

const deliverySchema = z
  .object({
    id: z.string(),
    lane: laneSchema,
    trigger: z.enum(['size', 'bytes', 'time', 'drain']),
    at: momentSchema,
    duration_ms: z.number(),
    count: z.int(),
    bytes: z.int(),
    status: z.int().nullable().meta({ description: 'HTTP status; null if there was no response.' }),
    attempt: z.int(),
    result: resultSchema,
    delivered: z.int(),
    merged: z.int(),
    retried: z.int(),
    dead_lettered: z.int(),
    backfilled: z.int().meta({
      description: 'Events that were sent with `backfill: true`, so that they trigger no flow.',
    }),
    reason: reasonSchema.nullable(),
    import_job: z
      .object({
        id: z.string(),
        status: z.enum(['queued', 'processing', 'complete', 'cancelled', 'unreadable', 'expired']),
        completed: z.int().nullable(),
        failed: z.int().nullable(),
      })
      .nullable(),
  })
  .meta({ id: 'Delivery', description: 'One request to Klaviyo.' });

function toDeliveryBody(delivery: Delivery): z.output<typeof deliverySchema> {
  const { id, lane, trigger, count, bytes, status, attempt, result } = delivery;
  const { delivered, merged, retried } = delivery;
  return {
    id,
    lane,
    trigger,
    at: toMoment(delivery.at),
    duration_ms: delivery.durationMs,
    count,
    bytes,
    status,
    attempt,
    result,
    delivered,
    merged,
    retried,
    dead_lettered: delivery.deadLettered,
    backfilled: delivery.backfilled ?? 0,
    reason: toReasonOrNull(delivery.reason),
    import_job: delivery.importJob,
  };
}

const listSchema = {
  tags: ['deliveries'],
  operationId: 'list_deliveries',
  summary: 'List the requests to Klaviyo, newest first',
  querystring: deliveriesQuery,
  response: {
    200: toPageSchema(deliverySchema),
    ...toProblemResponses('invalid', 'unauthorized', 'forbidden'),
  },
};

const oneSchema = {
  tags: ['deliveries'],
  operationId: 'get_delivery',
  summary: 'Get one request to Klaviyo',
  params: idParams,
  response: {
    200: deliverySchema,
    ...toProblemResponses('invalid', 'unauthorized', 'forbidden', 'not-found'),
  },
};

/**
 * The delivery log: GET /v1/deliveries and /v1/deliveries/{id}. DELIVERY_LOG_MAX_COUNT and
 * DELIVERY_LOG_MAX_AGE_MS bound the log.
 */
export function routeDeliveries(
  app: FastifyInstance,
  views: Pick<HttpViews, 'deliveries' | 'delivery'>,
): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/deliveries', { schema: listSchema }, async ({ query }) => {
    const { limit, cursor, ...filter } = query;
    const page = await views.deliveries(filter, { limit, cursor });
    return { data: page.data.map(toDeliveryBody), next: page.next };
  });
  routes.get('/v1/deliveries/:id', { schema: oneSchema }, async ({ params }) => {
    const delivery = await views.delivery(params.id);
    if (delivery === null) throw toNotFound('no delivery in the log has this id');
    return toDeliveryBody(delivery);
  });
}
