import { z } from 'zod';
import { callTypes } from '../../../sources/segment/calls.js';

/** Schemas of the requests of Segment SDKs. They are documentation: the map accepts whatever it can read. */

const object = z.record(z.string(), z.unknown());
const time = z.string().meta({ examples: ['2026-01-31T09:30:00.000Z'] });

const around = {
  context: object.optional().meta({ description: 'Its `traits` identify the person of the call.' }),
  integrations: object.optional().meta({
    description: '`All` or `Klaviyo` is false: it is not sent on.',
    examples: [{ All: true }],
  }),
  timestamp: time.optional(),
  sentAt: time.optional().meta({
    description: 'By the clock of the sender: puts `timestamp` right where that clock is wrong.',
  }),
  writeKey: z.string().optional().meta({ description: 'Where no header has it.' }),
};

const callSchema = z
  .looseObject({
    type: z
      .enum(callTypes)
      .optional()
      .meta({ description: 'In a batch. Elsewhere the path says it.' }),
    userId: z.string().optional().meta({
      description:
        "Klaviyo's external_id, or, where it is an e-mail address, the address. Any scalar counts as its text.",
    }),
    anonymousId: z.string().optional().meta({
      description:
        "Klaviyo's anonymous_id, on events. Beside other identifiers only where no other person was seen with it.",
    }),
    messageId: z.string().optional().meta({
      description: 'Names the call: a second event with the same id is a duplicate.',
    }),
    event: z
      .string()
      .optional()
      .meta({ description: 'Of track.', examples: ['Order Completed'] }),
    name: z.string().optional().meta({ description: 'Of page and screen.' }),
    properties: object.optional().meta({
      description:
        'Passed through untouched. `revenue` is what the event is worth, in `currency`; `total` stands in for it on a completed order alone.',
    }),
    traits: object.optional().meta({ description: 'Of identify.' }),
    originalTimestamp: time.optional(),
    ...around,
  })
  .meta({ id: 'SegmentCall', description: 'One call of an SDK.' });

const batchSchema = z
  .looseObject({ batch: z.array(callSchema), ...around })
  .meta({ id: 'SegmentBatch', description: 'Many calls; what stands beside them holds for all.' });

const mediaTypes = ['application/json', 'text/plain', 'application/x-www-form-urlencoded'];

/** JSON in any content type: RudderStack's SDK sends a form type, analytics.js plain text. */
const asAnyType = (schema: z.ZodType) => ({
  content: Object.fromEntries(mediaTypes.map((type) => [type, { schema }])),
});

export const callBody = asAnyType(callSchema);
export const batchBody = asAnyType(batchSchema);

export const segmentHeaders = z.object({
  'x-strict-mode': z.string().optional().meta({ description: '`1`: as `?strict=1`.' }),
});

export const segmentQuery = z.object({
  strict: z
    .enum(['1', 'true', '0', 'false'], { error: 'must be 1 or 0' })
    .default('0')
    .transform((value) => value === '1' || value === 'true')
    .meta({ description: 'All or nothing: one call at fault, and none is taken.' }),
});
