import { z } from 'zod';
import { lanes, storeLanes } from '../../model/lane.js';

/** The shape of every answer that is no problem; views.ts is checked against it, the documentation is made from it. */

export const issueSchema = z
  .object({
    pointer: z.string().meta({ description: 'JSON Pointer (RFC 6901); empty: the whole.' }),
    detail: z.string(),
  })
  .meta({ id: 'Fault', description: 'One thing that is wrong.' });

export const laneSchema = z.enum(lanes);
export const moment = z.iso.datetime();

export const acceptedOneSchema = z
  .object({
    id: z.string().meta({ description: 'Look it up under /v1/receipts/{id}.' }),
    status: z.enum(['accepted', 'duplicate']),
    warnings: z.array(issueSchema).optional(),
  })
  .meta({ id: 'Accepted', description: 'Safe in the store.' });

export const acceptedManySchema = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    rejected: z.array(
      z.object({
        index: z.int().meta({ description: 'Place in the request, from 0.' }),
        errors: z.array(issueSchema),
      }),
    ),
    rejected_unlisted: z.int().optional().meta({
      description: 'How many more were rejected, where `rejected` is too long to list all.',
    }),
    warnings: z.array(z.object({ index: z.int(), warnings: z.array(issueSchema) })).optional(),
    warnings_unlisted: z.int().optional().meta({ description: 'How many more have warnings.' }),
    ids: z
      .array(z.string())
      .optional()
      .meta({ description: 'With ?ids=true: one per taken entry, in request order.' }),
  })
  .meta({ id: 'AcceptedMany', description: 'What was not rejected is safe in the store.' });

export const reasonSchema = z
  .object({
    code: z.string().meta({ description: 'Short and stable.' }),
    detail: z
      .string()
      .meta({ description: "For a person; Klaviyo's own words where there are any." }),
    status: z.int().nullable().meta({ description: "Klaviyo's HTTP status." }),
    faults: z.array(issueSchema),
  })
  .meta({ id: 'Reason', description: 'Why it failed.' });

export const receiptSchema = z
  .object({
    id: z.string(),
    lane: z.enum(storeLanes).meta({
      description:
        '`waiting`: an entry of a source that waits until the relay knows the person it names.',
    }),
    state: z.enum(['buffered', 'in_flight', 'delivered', 'dead_lettered']),
    delivery_id: z.string().nullable(),
    merged: z.boolean().meta({ description: 'It left as part of a newer profile of this person.' }),
    reason: reasonSchema.nullable(),
  })
  .meta({ id: 'Receipt', description: 'Where an accepted event or profile is now.' });

export const deliveryResults = [
  'delivered',
  'pending',
  'partial',
  'retried',
  'rejected',
  'blocked',
] as const;

export const deliverySchema = z
  .object({
    id: z.string(),
    lane: laneSchema,
    trigger: z.enum(['size', 'bytes', 'time', 'drain']),
    at: moment,
    duration_ms: z.number(),
    count: z.int(),
    bytes: z.int(),
    status: z.int().nullable().meta({ description: 'HTTP status; null when no answer came.' }),
    attempt: z.int(),
    result: z.enum(deliveryResults),
    delivered: z.int(),
    merged: z.int(),
    retried: z.int(),
    dead_lettered: z.int(),
    backfilled: z.int().meta({
      description: 'Events in it that were sent with `backfill: true`: they trigger no flow.',
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

export const deadLetterSchema = z
  .object({
    id: z.string(),
    lane: laneSchema,
    accepted_at: moment,
    buried_at: moment,
    attempts: z.int(),
    delivery_id: z.string().nullable(),
    reason: reasonSchema,
    payload: z.record(z.string(), z.unknown()).meta({ description: "In Klaviyo's form." }),
  })
  .meta({ id: 'DeadLetter', description: 'What the relay gave up on, until you decide.' });

/** Documents an answer that is sent as text made by hand; its type is not checked. */
export const toTextResponse = (description: string, schema: z.ZodType) => ({
  description,
  content: { 'application/json': { schema } },
});

export const toPageSchema = <T extends z.ZodType>(entry: T) =>
  z
    .object({
      data: z.array(entry).meta({ description: 'Newest first.' }),
      next: z
        .string()
        .nullable()
        .meta({ description: 'Cursor of the next page; null at the end.' }),
    })
    .meta({ description: 'A page of the list.' });

export const redrivenSchema = z
  .object({ matched: z.int(), redriven: z.int(), dry_run: z.boolean() })
  .meta({ id: 'Redriven', description: 'Back in the buffer, unless it was a dry run.' });

export const discardedSchema = z
  .object({ matched: z.int(), discarded: z.int(), dry_run: z.boolean() })
  .meta({ id: 'Discarded', description: 'Gone for good, unless it was a dry run.' });

export const flushSchema = z
  .object({ status: z.literal('flushing') })
  .meta({ id: 'Flushing', description: 'Batches close now, whatever their size.' });

export const lanePausedSchema = z
  .object({ lane: laneSchema, status: z.literal('paused') })
  .meta({ id: 'LanePaused', description: 'Nothing more of the lane leaves.' });

export const laneResumedSchema = z
  .object({ lane: laneSchema, status: z.literal('resumed') })
  .meta({ id: 'LaneResumed', description: 'The lane goes on, unless Klaviyo stands in the way.' });

export const livenessSchema = z
  .object({ status: z.literal('ok') })
  .meta({ id: 'Liveness', description: 'The process answers.' });

export const readinessSchema = z
  .object({
    status: z.enum(['ready', 'not_ready']),
    checks: z.record(z.string(), z.object({ ok: z.boolean(), detail: z.string().optional() })),
  })
  .meta({ id: 'Readiness', description: 'Each check, and what follows from them.' });
