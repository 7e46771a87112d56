import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { storeLanes } from '../../model/lane.js';
import type { Receipt } from '../../model/store.js';
import type { HttpViews } from '../deps.js';
import { toNotFound, toProblemResponses } from '../plugins/problems.js';
import { idParams, reasonSchema, toReasonOrNull } from './schema-parts.js';

const receiptSchema = z
  .object({
    id: z.string(),
    lane: z.enum(storeLanes).meta({
      description:
        '`waiting`: an entry of a source that waits until another request identifies the person it names.',
    }),
    state: z.enum(['buffered', 'in_flight', 'delivered', 'dead_lettered']),
    delivery_id: z.string().nullable(),
    merged: z
      .boolean()
      .meta({ description: 'True: it was sent as a part of a newer profile of this person.' }),
    reason: reasonSchema.nullable(),
  })
  .meta({ id: 'Receipt', description: 'The current state of an accepted event or profile.' });

function toReceiptBody(receipt: Receipt): z.output<typeof receiptSchema> {
  const { id, lane, state, deliveryId, merged, reason } = receipt;
  return { id, lane, state, delivery_id: deliveryId, merged, reason: toReasonOrNull(reason) };
}

const schema = {
  tags: ['receipts'],
  operationId: 'get_receipt',
  summary: 'Get the state of an accepted event or profile',
  params: idParams,
  response: {
    200: receiptSchema,
    ...toProblemResponses('invalid', 'unauthorized', 'forbidden', 'not-found'),
  },
};

/** GET /v1/receipts/{id}. The id is not validated: its form depends on the store. */
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
