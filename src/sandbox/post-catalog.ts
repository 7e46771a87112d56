/**
 * Catalog items and variants in bulk: jobs that create, update and delete them, and reads of the jobs
 * that create them, by Klaviyo's OpenAPI. The form of the responses was recorded live
 * (bulk_create_catalog_items.202.json and get_bulk_create_catalog_items_job.200.json of
 * github.com/nickdnk/klaviyo-php-sdk).
 */

import { catalogSchemas, toCatalogId } from './check-catalog.js';
import type { CatalogResource } from './check-catalog.js';
import { catalogActions, catalogKinds } from './catalog.js';
import type { CatalogAction, CatalogInput, CatalogKind } from './catalog.js';
import { toJsonPointer } from './issues.js';
import { defineOperations } from './operation.js';
import type { Call, Operation } from './operation.js';
import { listProfileCandidates, respondUnlessPoisoned } from './poison.js';
import { respondWithResource, withQuery } from './query.js';
import { parseFrame } from './request-body.js';
import { toCatalogEntryResource, toCatalogJobResource } from './resources.js';
import {
  createErrorResponse,
  createInvalidError,
  createNotFoundResponse,
  createTooManyResponse,
} from './response.js';
import type { ApiResponse } from './response.js';

export const catalogOperations: readonly Operation[] = [
  ...defineOperations(
    'catalog',
    Object.fromEntries(
      catalogKinds.flatMap((kind) =>
        catalogActions.map((action) => [
          `POST /api/catalog-${kind}-bulk-${action}-jobs`,
          {
            name: `bulk_${action}_catalog_${kind}s`,
            tier: 'L',
            scopes: 'catalogs:write',
            handle: (call: Call) => startCatalogJob(call, kind, action),
          },
        ]),
      ),
    ),
  ),
  ...defineOperations('catalog-jobs', {
    'GET /api/catalog-item-bulk-create-jobs/{id}': {
      name: 'get_bulk_create_catalog_items_job',
      tier: 'catalog-read',
      scopes: 'catalogs:read',
      handle: (call) => readCatalogJob(call, 'item'),
    },
    'GET /api/catalog-variant-bulk-create-jobs/{id}': {
      name: 'get_bulk_create_variants_job',
      tier: 'catalog-read',
      scopes: 'catalogs:read',
      handle: (call) => readCatalogJob(call, 'variant'),
    },
  }),
];

/** Klaviyo's limits: entries of a job, and jobs in progress. */
const maxEntries = 100;
const maxJobsInProgress = 500;

function startCatalogJob(call: Call, kind: CatalogKind, action: CatalogAction): ApiResponse {
  const type = `catalog-${kind}-bulk-${action}-job`;
  const framed = parseFrame(call.json, catalogSchemas[kind][action], type);
  if ('invalid' in framed) return framed.invalid;
  const entries = framed.frame;
  const count = entries.length;
  const path = ['data', 'attributes', `${kind}s`, 'data'];
  if (count > maxEntries) {
    const pointer = `/${path.join('/')}`;
    return createTooManyResponse({ noun: `catalog ${kind}s`, max: maxEntries, count, pointer });
  }
  const jobs = call.account.catalog.jobs[kind][action];
  if (jobs.openCount() >= maxJobsInProgress) {
    const detail = `The maximum number of jobs in progress at one time is ${maxJobsInProgress}.`;
    return { ...createErrorResponse(400, [createInvalidError(detail)]), count };
  }
  const candidates = entries.map(({ attributes = {} }) => ({ attributes }));
  const records = { count, listCandidates: () => listProfileCandidates(candidates, path) };
  const fields = call.revision.selectsFieldsOfNewJobs ? [type] : [];
  return withQuery(call, { fields }, (query) =>
    respondUnlessPoisoned(call.poisons, records, (failures) => {
      const inputs = entries.map((entry, index) => ({
        ...toCatalogInput(entry),
        pointer: toJsonPointer([...path, index]),
        failure: failures.get(index)?.detail ?? null,
      }));
      const resource = toCatalogJobResource(jobs.start(inputs), { kind, action, url: call.url });
      return { ...respondWithResource(resource, query), status: 202 };
    }),
  );
}

/** A new entry has no id yet. Its id is made of its external id. */
function toCatalogInput({
  id,
  attributes = {},
  relationships,
}: CatalogResource): Pick<CatalogInput, 'id' | 'attributes' | 'itemId'> {
  const known = id ?? toCatalogId(String(attributes.external_id));
  return { id: known, attributes, itemId: relationships?.item?.data.id ?? null };
}

function readCatalogJob(call: Call, kind: CatalogKind): ApiResponse {
  const { account, id, url } = call;
  const type = `catalog-${kind}-bulk-create-job`;
  const rules = { fields: [type, `catalog-${kind}`], include: [`${kind}s`] };
  return withQuery(call, rules, (query) => {
    const job = account.catalog.jobs[kind].create.get(id);
    if (job === undefined) return createNotFoundResponse(`A ${type} with id ${id} does not exist.`);
    const changed = query.include.length > 0 ? job.changedIds : [];
    const included = changed.flatMap((entryId) => {
      const entry = account.catalog.entries[kind].get(entryId);
      return entry === undefined ? [] : [toCatalogEntryResource(entry, { kind, url })];
    });
    const resource = toCatalogJobResource(job, { kind, action: 'create', url });
    return respondWithResource(resource, query, included);
  });
}
