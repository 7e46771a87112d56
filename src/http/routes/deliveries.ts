import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { deliverySchema, toPageSchema } from './responses.js';
import type { HttpViews } from '../deps.js';
import { toNotFound } from '../plugins/errors.js';
import { toProblemResponses } from '../plugins/problems.js';
import { deliveriesQuery, idParams } from './queries.js';
import { toDeliveryBody } from './response-bodies.js';

const listSchema = {
  tags: ['deliveries'],
  operationId: 'list_deliveries',
  summary: 'Each request to Klaviyo, newest first',
  querystring: deliveriesQuery,
  response: {
    200: toPageSchema(deliverySchema),
    ...toProblemResponses('invalid', 'unauthorized', 'forbidden'),
  },
};

const oneSchema = {
  tags: ['deliveries'],
  operationId: 'get_delivery',
  summary: 'One request to Klaviyo',
  params: idParams,
  response: {
    200: deliverySchema,
    ...toProblemResponses('invalid', 'unauthorized', 'forbidden', 'not-found'),
  },
};

/** The delivery log. What it keeps, and for how long, is set by DELIVERY_LOG_MAX_COUNT and _AGE_MS. */
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
