/**
 * The JSON:API resources of responses. Each matches its schema in Klaviyo's OpenAPI files of the
 * oldest and the newest revision that the contract tests cover.
 */

import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import type { Metric, RecordedEvent } from './activity.js';
import { catalogActions, catalogKinds } from './catalog.js';
import type { CatalogAction, CatalogEntry, CatalogJob, CatalogKind } from './catalog.js';
import { textFields } from './check-profile.js';
import type { ImportError, ImportJob } from './import-jobs.js';
import { toIsoTime } from './iso-time.js';
import type { List } from './lists.js';
import { getSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import type { Revision } from './revisions.js';
import type { SuppressionJob } from './suppression-jobs.js';
import { toSubscriptions } from './subscriptions.js';

/** A JSON:API resource. */
export type Resource = {
  readonly type: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly relationships?: Readonly<Record<string, unknown>>;
  readonly links: { readonly self: string };
};

type Links = { readonly self: string; readonly related: string };

/** Type and id of a resource: the content of a relationship. */
export type Identifier = Pick<Resource, 'type' | 'id'>;

const suppressionJobFields = [
  'status',
  'created_at',
  'total_count',
  'completed_count',
  'completed_at',
  'skipped_count',
];
const catalogJobFields = [
  'status',
  'created_at',
  'total_count',
  'completed_count',
  'failed_count',
  'completed_at',
  'errors',
  'expires_at',
];
/** The attributes that items and variants share. */
const catalogFields = [
  'external_id',
  'title',
  'description',
  'price',
  'url',
  'image_full_url',
  'image_thumbnail_url',
  'images',
  'custom_metadata',
  'published',
];
const variantFields = ['sku', 'inventory_policy', 'inventory_quantity'];

/**
 * The attributes of each type. `fields[type]` can name them and their members (`location.city`).
 * `optional` attributes are shown only on request.
 */
export const attributeNames: Readonly<
  Record<string, { readonly usual: readonly string[]; readonly optional?: readonly string[] }>
> = {
  account: {
    usual: [
      'test_account',
      'contact_information',
      'industry',
      'timezone',
      'preferred_currency',
      'public_api_key',
      'locale',
    ],
  },
  event: { usual: ['timestamp', 'event_properties', 'datetime', 'uuid'] },
  'import-error': { usual: ['code', 'title', 'detail', 'source', 'original_payload'] },
  list: { usual: ['name', 'created', 'updated', 'opt_in_process'], optional: ['profile_count'] },
  metric: { usual: ['name', 'created', 'updated', 'integration'] },
  profile: {
    usual: [
      'email',
      'phone_number',
      'external_id',
      ...textFields,
      'created',
      'updated',
      'last_event_date',
      'location',
      'properties',
    ],
    optional: ['subscriptions', 'predictive_analytics'],
  },
  'profile-bulk-import-job': {
    usual: [
      'status',
      'created_at',
      'total_count',
      'completed_count',
      'failed_count',
      'completed_at',
      'expires_at',
      'started_at',
    ],
  },
  'profile-suppression-bulk-create-job': { usual: suppressionJobFields },
  'profile-suppression-bulk-delete-job': { usual: suppressionJobFields },
  'catalog-item': { usual: [...catalogFields, 'created', 'updated'] },
  'catalog-variant': { usual: [...catalogFields, ...variantFields, 'created', 'updated'] },
  ...Object.fromEntries(
    catalogKinds.flatMap((kind) =>
      catalogActions.map((action) => [
        `catalog-${kind}-bulk-${action}-job`,
        { usual: catalogJobFields },
      ]),
    ),
  ),
};

/** The request whose response contains a resource. */
export type ResourceContext = { readonly url: URL; readonly revision: Revision };

/** Contains every attribute; those never set are null. */
export function toProfileResource(profile: Profile, { url, revision }: ResourceContext): Resource {
  const { attributes } = profile;
  const path = `/api/profiles/${profile.id}`;
  const { location, properties } = attributes;
  const plain = ['email', 'phone_number', 'external_id', ...textFields].map(
    (field) => [field, attributes[field] ?? null] as const,
  );
  return {
    type: 'profile',
    id: profile.id,
    attributes: {
      ...Object.fromEntries(plain),
      created: toIsoTime(profile.createdAt),
      updated: toIsoTime(profile.updatedAt),
      last_event_date: toIsoTime(profile.lastEventAt),
      location: isJsonObject(location) ? location : {},
      properties: isJsonObject(properties) ? properties : {},
      subscriptions: toSubscriptions(profile, revision),
      predictive_analytics: noPredictions,
    },
    relationships: {
      lists: { links: toRelationshipLinks(path, 'lists', url) },
      segments: { links: toRelationshipLinks(path, 'segments', url) },
    },
    links: { self: new URL(path, url).href },
  };
}

/** Klaviyo's response for a profile with too little history. */
const noPredictions: JsonObject = {
  historic_clv: null,
  predicted_clv: null,
  total_clv: null,
  historic_number_of_orders: null,
  predicted_number_of_orders: null,
  average_days_between_orders: null,
  average_order_value: null,
  churn_probability: null,
  expected_date_of_next_order: null,
};

/** Klaviyo shows value and id among the properties, under names that begin with $. */
export function toEventResource(event: RecordedEvent, url: URL): Resource {
  const path = `/api/events/${event.id}`;
  const datetime = new Date(event.timestamp * 1000).toISOString();
  return {
    type: 'event',
    id: event.id,
    attributes: {
      timestamp: event.timestamp,
      event_properties: {
        ...event.properties,
        $event_id: event.uniqueId,
        ...(event.value === null ? {} : { $value: event.value }),
        ...(event.valueCurrency === null ? {} : { $currency_code: event.valueCurrency }),
      },
      datetime: datetime.replace('.000Z', '+00:00'),
      uuid: toEventUuid(event.id),
    },
    relationships: {
      profile: {
        data: { type: 'profile', id: getSurvivor(event.profile).id },
        links: toRelationshipLinks(path, 'profile', url),
      },
      metric: {
        data: { type: 'metric', id: event.metric.id },
        links: toRelationshipLinks(path, 'metric', url),
      },
    },
    links: { self: new URL(path, url).href },
  };
}

/** All metrics of the sandbox come from its API. */
export const integration = {
  object: 'integration',
  id: 'sandbox',
  name: 'API',
  category: 'API',
} as const;

export function toMetricResource(metric: Metric, url: URL): Resource {
  const path = `/api/metrics/${metric.id}`;
  return {
    type: 'metric',
    id: metric.id,
    attributes: {
      name: metric.name,
      created: toIsoTime(metric.createdAt),
      updated: toIsoTime(metric.updatedAt),
      integration,
    },
    relationships: { 'flow-triggers': { links: toRelationshipLinks(path, 'flow-triggers', url) } },
    links: { self: new URL(path, url).href },
  };
}

export function toListResource(list: List, url: URL): Resource {
  const path = `/api/lists/${list.id}`;
  return {
    type: 'list',
    id: list.id,
    attributes: {
      name: list.name,
      created: toIsoTime(list.createdAt),
      updated: toIsoTime(list.updatedAt),
      opt_in_process: list.optInProcess,
      profile_count: list.members.size,
    },
    relationships: {
      profiles: { links: toRelationshipLinks(path, 'profiles', url) },
      tags: { links: toRelationshipLinks(path, 'tags', url) },
      'flow-triggers': { links: toRelationshipLinks(path, 'flow-triggers', url) },
    },
    links: { self: new URL(path, url).href },
  };
}

const weekMs = 7 * 86_400_000;

export function toImportJobResource(job: ImportJob, url: URL): Resource {
  const path = `/api/profile-bulk-import-jobs/${job.id}`;
  return {
    type: 'profile-bulk-import-job',
    id: job.id,
    attributes: {
      status: job.status,
      created_at: toIsoTime(job.createdAt),
      total_count: job.total,
      completed_count: job.completed,
      failed_count: job.failed,
      completed_at: toIsoTime(job.completedAt),
      expires_at: toIsoTime(job.createdAt + weekMs),
      started_at: toIsoTime(job.startedAt),
    },
    relationships: {
      lists: {
        data: job.lists.map((id) => ({ type: 'list', id })),
        links: toRelationshipLinks(path, 'lists', url),
      },
      profiles: { links: toRelationshipLinks(path, 'profiles', url) },
      'import-errors': { links: { related: new URL(`${path}/import-errors`, url).href } },
    },
    links: { self: new URL(path, url).href },
  };
}

/**
 * Klaviyo's form. It has no index, and the exact content of `original_payload` was never recorded.
 */
export function toImportErrorResource(
  error: ImportError,
  owner: { readonly jobId: string; readonly url: URL },
): Resource {
  const path = `/api/profile-bulk-import-jobs/${owner.jobId}/import-errors/${error.id}`;
  return {
    type: 'import-error',
    id: error.id,
    attributes: {
      code: 'invalid',
      title: 'Invalid input',
      detail: error.detail,
      source: { pointer: error.pointer },
      original_payload: error.originalPayload,
    },
    links: { self: new URL(path, owner.url).href },
  };
}

export function toSuppressionJobResource(
  job: SuppressionJob,
  { type, url }: { readonly type: SuppressionJobType; readonly url: URL },
): Resource {
  const path = `/api/${type}s/${job.id}`;
  return {
    type,
    id: job.id,
    attributes: {
      status: job.status,
      created_at: toIsoTime(job.createdAt),
      total_count: job.total,
      completed_count: job.completed,
      completed_at: toIsoTime(job.completedAt),
      skipped_count: job.skipped,
    },
    relationships: {
      lists: { links: toRelationshipLinks(path, 'lists', url) },
      segments: { links: toRelationshipLinks(path, 'segments', url) },
    },
    links: { self: new URL(path, url).href },
  };
}

export type SuppressionJobType =
  'profile-suppression-bulk-create-job' | 'profile-suppression-bulk-delete-job';

export function toCatalogJobResource(
  job: CatalogJob,
  context: { readonly kind: CatalogKind; readonly action: CatalogAction; readonly url: URL },
): Resource {
  const { kind, action, url } = context;
  const type = `catalog-${kind}-bulk-${action}-job`;
  return {
    type,
    id: job.id,
    attributes: {
      status: job.status,
      created_at: toIsoTime(job.createdAt),
      total_count: job.total,
      completed_count: job.completed,
      failed_count: job.failed,
      completed_at: toIsoTime(job.completedAt),
      errors: job.errors.map(({ pointer, ...error }) => ({ ...error, source: { pointer } })),
      expires_at: toIsoTime(job.createdAt + weekMs),
    },
    relationships: {
      [`${kind}s`]: { data: job.changedIds.map((id) => ({ type: `catalog-${kind}`, id })) },
    },
    links: { self: new URL(`/api/${type}s/${job.id}`, url).href },
  };
}

/** Contains every attribute; those never set are null. */
export function toCatalogEntryResource(
  entry: CatalogEntry,
  { kind, url }: { readonly kind: CatalogKind; readonly url: URL },
): Resource {
  const fields = kind === 'item' ? catalogFields : [...catalogFields, ...variantFields];
  const path = `/api/catalog-${kind}s/${entry.id}`;
  return {
    type: `catalog-${kind}`,
    id: entry.id,
    attributes: {
      ...Object.fromEntries(fields.map((field) => [field, entry.attributes[field] ?? null])),
      created: toIsoTime(entry.createdAt),
      updated: toIsoTime(entry.updatedAt),
    },
    links: { self: new URL(path, url).href },
  };
}

export function toRelationshipLinks(path: string, relation: string, url: URL): Links {
  return {
    self: new URL(`${path}/relationships/${relation}`, url).href,
    related: new URL(`${path}/${relation}`, url).href,
  };
}

/** Klaviyo gives each event a UUID of version 1. The sandbox derives it from the event's id. */
function toEventUuid(id: string): string {
  const hex = Buffer.from(id.slice(-6)).toString('hex').padStart(12, '0');
  return `00000000-0000-1000-8000-${hex}`;
}
