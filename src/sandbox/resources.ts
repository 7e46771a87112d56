import type { Metric, RecordedEvent } from './activity.js';
import { textFields } from './check-profile.js';
import type { ImportError, ImportState } from './imports.js';
import type { List } from './lists.js';
import { isObject } from './json.js';
import type { JsonObject } from './json.js';
import { toSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';

/** A JSON:API resource; each `to…Resource` fits its schema in both of Klaviyo's OpenAPI files. */
export type Resource = {
  readonly type: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly relationships?: Readonly<Record<string, unknown>>;
  readonly links: { readonly self: string };
};

type Links = { readonly self: string; readonly related: string };

/** Type and id of a resource: what a relationship contains. */
export type Identifier = Pick<Resource, 'type' | 'id'>;

/**
 * The attributes of each type that the sandbox shows. `fields[type]` may name them, and members of
 * them (`location.city`); `optional` ones are shown only where they are asked for.
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
};

/** Every attribute is there, null where it was never set. */
export function toProfileResource(profile: Profile, url: URL): Resource {
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
      created: toIso(profile.createdAt),
      updated: toIso(profile.updatedAt),
      last_event_date: toIso(profile.lastEventAt),
      location: isObject(location) ? location : {},
      properties: isObject(properties) ? properties : {},
      subscriptions: toSubscriptions(attributes),
      predictive_analytics: noPredictions,
    },
    relationships: {
      lists: { links: toLinks(path, 'lists', url) },
      segments: { links: toLinks(path, 'segments', url) },
    },
    links: { self: new URL(path, url).href },
  };
}

/** The sandbox records no consent: nobody ever subscribed, and e-mail may be sent where there is an address. */
function toSubscriptions({ email }: JsonObject): JsonObject {
  return {
    email: {
      marketing: {
        can_receive_email_marketing: typeof email === 'string',
        consent: 'NEVER_SUBSCRIBED',
        consent_timestamp: null,
        last_updated: null,
        method: null,
        method_detail: null,
        custom_method_detail: null,
        double_optin: null,
        suppression: [],
        list_suppressions: [],
      },
    },
    sms: {
      marketing: {
        can_receive_sms_marketing: false,
        consent: 'NEVER_SUBSCRIBED',
        consent_timestamp: null,
        last_updated: null,
        method: null,
        method_detail: null,
      },
    },
  };
}

/** What Klaviyo shows of a profile that has too little history. */
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

/** Klaviyo puts value and id among the properties, under names that begin with $. */
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
      uuid: toUuid(event.id),
    },
    relationships: {
      profile: {
        data: { type: 'profile', id: toSurvivor(event.profile).id },
        links: toLinks(path, 'profile', url),
      },
      metric: {
        data: { type: 'metric', id: event.metric.id },
        links: toLinks(path, 'metric', url),
      },
    },
    links: { self: new URL(path, url).href },
  };
}

/** Every metric of the sandbox came in through its API. */
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
      created: toIso(metric.createdAt),
      updated: toIso(metric.updatedAt),
      integration,
    },
    relationships: { 'flow-triggers': { links: toLinks(path, 'flow-triggers', url) } },
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
      created: toIso(list.createdAt),
      updated: toIso(list.updatedAt),
      opt_in_process: 'single_opt_in',
      profile_count: new Set(Array.from(list.members.keys(), toSurvivor)).size,
    },
    relationships: {
      profiles: { links: toLinks(path, 'profiles', url) },
      tags: { links: toLinks(path, 'tags', url) },
      'flow-triggers': { links: toLinks(path, 'flow-triggers', url) },
    },
    links: { self: new URL(path, url).href },
  };
}

const weekMs = 7 * 86_400_000;

export function toImportJobResource(job: ImportState, url: URL): Resource {
  const path = `/api/profile-bulk-import-jobs/${job.id}`;
  return {
    type: 'profile-bulk-import-job',
    id: job.id,
    attributes: {
      status: job.status,
      created_at: toIso(job.createdAt),
      total_count: job.total,
      completed_count: job.completed,
      failed_count: job.failed,
      completed_at: toIso(job.completedAt),
      expires_at: toIso(job.createdAt + weekMs),
      started_at: toIso(job.startedAt),
    },
    relationships: {
      lists: {
        data: job.lists.map((id) => ({ type: 'list', id })),
        links: toLinks(path, 'lists', url),
      },
      profiles: { links: toLinks(path, 'profiles', url) },
      'import-errors': { links: { related: new URL(`${path}/import-errors`, url).href } },
    },
    links: { self: new URL(path, url).href },
  };
}

/** Klaviyo's own shape; it carries no index, and what `original_payload` holds exactly was never recorded. */
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

export const accountId = 'SNDBOX';

export function toAccountResource(url: URL): Resource {
  return {
    type: 'account',
    id: accountId,
    attributes: {
      test_account: true,
      contact_information: {
        default_sender_name: 'Klaviyo sandbox',
        default_sender_email: 'sandbox@klaviyo-demo.com',
        website_url: null,
        organization_name: 'Klaviyo sandbox',
        street_address: {
          address1: null,
          address2: null,
          city: 'Boston',
          region: null,
          country: null,
          zip: null,
        },
      },
      industry: null,
      timezone: 'UTC',
      preferred_currency: 'USD',
      public_api_key: accountId,
      locale: 'en-US',
    },
    links: { self: new URL(`/api/accounts/${accountId}`, url).href },
  };
}

function toIso(epochMs: number): string;
function toIso(epochMs: number | null): string | null;
function toIso(epochMs: number | null): string | null {
  return epochMs === null ? null : new Date(epochMs).toISOString();
}

export function toLinks(path: string, relation: string, url: URL): Links {
  return {
    self: new URL(`${path}/relationships/${relation}`, url).href,
    related: new URL(`${path}/${relation}`, url).href,
  };
}

/** Events have a UUID of version 1 besides their id; here it is made from the id. */
function toUuid(id: string): string {
  const hex = Buffer.from(id.slice(-6)).toString('hex').padStart(12, '0');
  return `00000000-0000-1000-8000-${hex}`;
}
