import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { receiptSchema } from './responses.js';
import type { HttpViews } from '../deps.js';
import { toNotFound } from '../plugins/errors.js';
import { toProblemResponses } from '../plugins/problems.js';
import { idParams } from './queries.js';
import { toReceiptBody } from './response-bodies.js';

const schema = {
  tags: ['receipts'],
  operationId: 'get_receipt',
  summary: 'Where an accepted event or profile is now',
  params: idParams,
  response: {
    200: receiptSchema,
    ...toProblemResponses('invalid', 'unauthorized', 'forbidden', 'not-found'),
  },
};

/** Ids are looked up as they come: what form they have is the store's affair. */
export function routeReceipts(app: FastifyInstance, views: Pick<HttpViews, 'receipt'>): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/receipts/:id', { schema }, async (request) => {
    const receipt = await views.receipt(request.params.id);
    if (receipt === null) {
      throw toNotFound('no receipt has this id; receipts are kept as long as the delivery log');
    }
    return toReceiptBody(receipt);
  });
}
