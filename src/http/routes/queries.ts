import { z } from 'zod';
import type { Lane } from '../../model/lane.js';
import { deliveryResults, laneSchema } from './responses.js';

/** What may stand behind the `?`. Unknown names and values are a 400: a misspelt filter must not select everything. */

/** A switch that says what it takes, where `Boolean('false')` would be true. */
const toggle = (description: string) =>
  z
    .enum(['true', 'false'], { error: 'must be true or false' })
    .default('false')
    .transform((value) => value === 'true')
    .meta({ description });

/** ISO 8601 with an offset, as epoch ms. */
const moment = (description: string) =>
  z.iso
    .datetime({
      offset: true,
      error: 'must be ISO 8601 with an offset, such as 2026-01-31T09:30:00Z',
    })
    .transform((text) => Date.parse(text))
    .optional()
    .meta({ description });

const lane = laneSchema.optional();

/** 1000 dead letters of 100 KB are as large an answer as one should get. */
const pageQuery = {
  limit: z.coerce
    .number({ error: 'must be a whole number' })
    .int('must be a whole number')
    .min(1, 'must be at least 1')
    .max(1000, 'must be at most 1000')
    .default(100),
  cursor: z
    .string()
    .max(200)
    .regex(/^[\w-]+$/, 'must be the `next` of an earlier page')
    .optional()
    .meta({ description: 'The `next` of an earlier page.' }),
};

const since = moment('Not before.');
const until = moment('Not after.');
const reason = z.string().max(200).optional().meta({ description: 'Code of the reason.' });

export const idParams = z.object({ id: z.string() });

export const laneParams = z.object({ lane: laneSchema });

const backfill = z
  .enum(['true', 'false'], { error: 'must be true or false' })
  .transform((value) => value === 'true')
  .optional()
  .meta({
    description:
      'Whether Klaviyo records the events without triggering flows, whatever their age. Absent: those older than BACKFILL_AFTER.',
  });

type OneQuery = { readonly backfill?: boolean | undefined };
type ManyQuery = OneQuery & { readonly strict: boolean; readonly ids: boolean };

export const oneQuery: Readonly<Record<Lane, z.ZodType<OneQuery>>> = {
  events: z.strictObject({ backfill }),
  profiles: z.strictObject({}),
};

const many = {
  strict: toggle('All or nothing: one invalid entry refuses the whole request.'),
  ids: toggle('List the ids of what was taken.'),
};

export const manyQuery: Readonly<Record<Lane, z.ZodType<ManyQuery>>> = {
  events: z.strictObject({ ...many, backfill }),
  profiles: z.strictObject(many),
};

export const flushQuery = z.strictObject({ lane });

export const deliveriesQuery = z.strictObject({
  ...pageQuery,
  lane,
  result: z.enum(deliveryResults).optional(),
  since,
  until,
});

export const deadLettersQuery = z.strictObject({ ...pageQuery, lane, reason, since, until });

/** In a body, not in the query: a list of ids outgrows what proxies let through as an address. */
export const redriveBody = z
  .strictObject({
    filter: z
      .strictObject(
        { lane, reason, ids: z.array(z.string().max(200)).max(10_000).optional(), since, until },
        { error: 'must be an object; {} selects all of them' },
      )
      .meta({ description: 'All that is named must match; `{}` selects all of them.' }),
    dry_run: z.boolean().default(false).meta({ description: 'Count, and change nothing.' }),
  })
  .meta({ id: 'Redrive' });

export const discardQuery = z.strictObject({
  lane,
  reason,
  ids: z
    .string()
    .transform((list) => list.split(','))
    .optional()
    .meta({ description: 'Comma-separated.' }),
  since,
  until,
  all: toggle('Needed where no filter is given: discards every dead letter.'),
  dry_run: toggle('Count, and change nothing.'),
});
