/**
 * The request bodies of catalog jobs, by Klaviyo's OpenAPI. Klaviyo supports one integration and one
 * catalog, which are part of each id.
 */

import { z } from 'zod';
import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import type { CatalogAction, CatalogKind } from './catalog.js';

/** One entry of a job. A job that deletes has ids alone; one that creates has no ids. */
export type CatalogResource = {
  readonly id?: string | undefined;
  readonly attributes?: JsonObject | undefined;
  readonly relationships?:
    | {
        readonly item?: { readonly data: { readonly id: string } };
        /** Categories are checked and have no effect. */
        readonly categories?: unknown;
      }
    | undefined;
};

const idPrefix = '$custom:::$default:::';

export function toCatalogId(externalId: string): string {
  return `${idPrefix}${externalId}`;
}

const catalogId = z
  .string()
  .refine(
    (id) => id.startsWith(idPrefix) && id.length > idPrefix.length,
    `The id must have the format ${idPrefix}{external_id}.`,
  );

/** Klaviyo's documented limit. KB is read as 1000 bytes. */
const maxMetadataBytes = 100_000;

const metadata = z
  .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))
  .nullish()
  .refine(
    (value) => !isJsonObject(value) || Buffer.byteLength(JSON.stringify(value)) <= maxMetadataBytes,
    'The custom_metadata must not be larger than 100000 bytes.',
  );

const optional = {
  image_full_url: z.string().nullish(),
  image_thumbnail_url: z.string().nullish(),
  images: z.array(z.string()).nullish(),
  custom_metadata: metadata,
  published: z.boolean().nullish(),
};
const identity = {
  external_id: z.string().min(1),
  integration_type: z.literal('$custom').nullish(),
  catalog_type: z.literal('$default').nullish(),
};
const texts = { title: z.string(), description: z.string(), url: z.string() };
const stock = { sku: z.string(), inventory_quantity: z.number(), price: z.number() };
const policy = { inventory_policy: z.union([0, 1, 2].map((value) => z.literal(value))).nullish() };

const newItem = z.strictObject({
  ...identity,
  ...texts,
  price: z.number().nullish(),
  ...optional,
});
const newVariant = z.strictObject({ ...identity, ...texts, ...stock, ...policy, ...optional });

function toNullish(shape: Readonly<Record<string, z.ZodType>>) {
  return Object.fromEntries(Object.entries(shape).map(([name, field]) => [name, field.nullish()]));
}

const changedItem = z.strictObject({
  ...toNullish({ ...texts, price: z.number() }),
  ...optional,
});
const changedVariant = z.strictObject({
  ...toNullish({ ...texts, ...stock }),
  ...policy,
  ...optional,
});

const categories = z
  .strictObject({
    categories: z
      .strictObject({
        data: z
          .array(z.strictObject({ type: z.literal('catalog-category'), id: z.string() }))
          .optional(),
      })
      .optional(),
  })
  .optional();
/** Klaviyo requires the item since 2025. The sandbox always does. */
const itemOfVariant = z.strictObject({
  item: z.strictObject({
    data: z.strictObject({ type: z.literal('catalog-item'), id: catalogId }),
  }),
});

const itemType = z.literal('catalog-item');
const variantType = z.literal('catalog-variant');

/** What one entry of each job must look like. */
const entrySchemas: Readonly<
  Record<CatalogKind, Readonly<Record<CatalogAction, z.ZodType<CatalogResource>>>>
> = {
  item: {
    create: z.strictObject({ type: itemType, attributes: newItem, relationships: categories }),
    update: z.strictObject({
      type: itemType,
      id: catalogId,
      attributes: changedItem,
      relationships: categories,
    }),
    delete: z.strictObject({ type: itemType, id: catalogId }),
  },
  variant: {
    create: z.strictObject({
      type: variantType,
      attributes: newVariant,
      relationships: itemOfVariant,
    }),
    update: z.strictObject({ type: variantType, id: catalogId, attributes: changedVariant }),
    delete: z.strictObject({ type: variantType, id: catalogId }),
  },
};

/** Yields the entries of the job. */
type CatalogSchema = z.ZodType<readonly CatalogResource[]>;

function toJobSchema(kind: CatalogKind, action: CatalogAction): CatalogSchema {
  const list = z.strictObject({ data: z.array(entrySchemas[kind][action]).min(1) });
  const body = z.strictObject({
    data: z.strictObject({
      type: z.literal(`catalog-${kind}-bulk-${action}-job`),
      attributes: z.strictObject({ [`${kind}s`]: list }),
    }),
  });
  return body.transform(({ data }) => data.attributes[`${kind}s`]?.data ?? []);
}

function toJobSchemas(kind: CatalogKind): Readonly<Record<CatalogAction, CatalogSchema>> {
  return {
    create: toJobSchema(kind, 'create'),
    update: toJobSchema(kind, 'update'),
    delete: toJobSchema(kind, 'delete'),
  };
}

/** The schema of the body of each job. */
export const catalogSchemas = { item: toJobSchemas('item'), variant: toJobSchemas('variant') };
