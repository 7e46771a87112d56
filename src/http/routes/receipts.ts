import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { storeLanes } from '../../model/lane.js';
import type { HttpViews, ShownReceipt } from '../deps.js';
import { toNotFound, toProblemResponses } from '../plugins/problems.js';
import { idParams, momentSchema, reasonSchema, toMoment, toReasonOrNull } from './schema-parts.js';

const erasureSchema = z
  .object({
    removed: z
      .object({
        at: momentSchema,
        envelopes: z.int(),
        dead_letters: z.int(),
        facts: z.int(),
      })
      .nullable()
      .meta({ description: 'What was removed from this relay; null before the first removal.' }),
    klaviyo: z.enum(['pending', 'requested', 'no_profile', 'rejected']).meta({
      description:
        '`requested`: Klaviyo accepted the deletion, and completes it later. `no_profile`: it has no profile with this `distinct_id`.',
    }),
  })
  .meta({ description: 'Of an erasure: both ends.' });

const receiptSchema = z
  .object({
    id: z.string(),
    lane: z.enum(storeLanes).meta({
      description:
        '`waiting`: an entry of a source that waits until another request identifies the person it names.',
    }),
    state: z.enum(['buffered', 'in_flight', 'delivered', 'dead_lettered', 'erased']),
    delivery_id: z.string().nullable(),
    merged: z
      .boolean()
      .meta({ description: 'True: it was sent as a part of a newer profile of this person.' }),
    reason: reasonSchema.nullable(),
    erased_by: z
      .string()
      .optional()
      .meta({ description: 'Id of the erasure that removed it, with the state `erased`.' }),
    erasure: erasureSchema.optional(),
  })
  .meta({ id: 'Receipt', description: 'The current state of an accepted event or profile.' });

function toReceiptBody(receipt: ShownReceipt): z.output<typeof receiptSchema> {
  const { id, lane, state, deliveryId, merged, reason, erasedBy, erasure } = receipt;
  return {
    ...{ id, lane, state, delivery_id: deliveryId, merged, reason: toReasonOrNull(reason) },
    ...(erasedBy !== undefined && { erased_by: erasedBy }),
    ...(erasure !== undefined && { erasure: toErasureBody(erasure) }),
  };
}

function toErasureBody({
  removed,
  klaviyo,
}: NonNullable<ShownReceipt['erasure']>): z.output<typeof erasureSchema> {
  if (removed === null) return { removed, klaviyo };
  const { at, envelopes, deadLetters, facts } = removed;
  return { removed: { at: toMoment(at), envelopes, dead_letters: deadLetters, facts }, klaviyo };
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
