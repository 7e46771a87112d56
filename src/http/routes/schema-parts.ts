import { z } from 'zod';
import { lanes } from '../../model/lane.js';
import type { Reason } from '../../model/outcome.js';
import type { Page } from '../../model/store.js';
import { issueSchema } from '../plugins/problems.js';

/**
 * Parts of requests and responses that several resources share. Each resource has its schemas, its query
 * and the conversion to its response body in one file, next to its routes. The documentation is made from
 * the schemas, and the compiler checks each response body against its schema.
 *
 * Responses are JSON in snake_case. Times are ISO 8601, and an absent value is null.
 *
 * Queries are strict objects: an unknown name or value is a 400, because a misspelt filter must not select
 * everything.
 */

export const laneSchema = z.enum(lanes);
export const momentSchema = z.iso.datetime();

export const toMoment = (epochMs: number): string => new Date(epochMs).toISOString();

export const idParams = z.object({ id: z.string() });

/** A query parameter that must be `true` or `false`. `z.coerce.boolean` would read 'false' as true. */
const flag = z.enum(['true', 'false'], { error: 'must be true or false' });
const isTrue = (value: 'true' | 'false'): boolean => value === 'true';

/** A flag that is undefined if it is absent. */
export const toOptionalFlagQuery = (description: string) =>
  flag.transform(isTrue).optional().meta({ description });

/** A flag that is false if it is absent. */
export const toFlagQuery = (description: string) =>
  flag.default('false').transform(isTrue).meta({ description });

/** A time as ISO 8601 with an offset; parsed to epoch ms. */
const toTimeQuery = (description: string) =>
  z.iso
    .datetime({
      offset: true,
      error: 'must be ISO 8601 with an offset, such as 2026-01-31T09:30:00Z',
    })
    .transform((text) => Date.parse(text))
    .optional()
    .meta({ description });

/** Parameters with which a caller selects entries of a list. */
export const filterQuery = {
  lane: laneSchema.optional(),
  reason: z.string().max(200).optional().meta({ description: 'Code of the reason.' }),
  since: toTimeQuery('Not before this time.'),
  until: toTimeQuery('Not after this time.'),
};

/** Parameters that select a page of a list. 1000 dead letters of 100 KB are a large response already. */
export const pageQuery = {
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

export const toPageSchema = <T extends z.ZodType>(entry: T) =>
  z
    .object({
      data: z.array(entry).meta({ description: 'Newest first.' }),
      next: z
        .string()
        .nullable()
        .meta({ description: 'Cursor of the next page; null on the last page.' }),
    })
    .meta({ description: 'A page of the list.' });

export function toPageText<T>(page: Page<T>, toText: (entry: T) => string): string {
  return `{"data":[${page.data.map(toText).join(',')}],"next":${JSON.stringify(page.next)}}`;
}

/** Documents a response that a route sends as JSON text. The compiler does not check such a response. */
export const toTextResponse = (description: string, schema: z.ZodType) => ({
  description,
  content: { 'application/json': { schema } },
});

export const reasonSchema = z
  .object({
    code: z.string().meta({ description: 'Short and stable.' }),
    detail: z
      .string()
      .meta({ description: "A text for people. It is Klaviyo's own text if there is one." }),
    status: z.int().nullable().meta({ description: "HTTP status of Klaviyo's response." }),
    faults: z.array(issueSchema),
  })
  .meta({ id: 'Reason', description: 'Why it failed.' });

export function toReasonBody(reason: Reason): z.output<typeof reasonSchema> {
  const { code, detail, status, faults } = reason;
  return { code, detail, status: status ?? null, faults: [...(faults ?? [])] };
}

export const toReasonOrNull = (reason: Reason | null) =>
  reason === null ? null : toReasonBody(reason);
