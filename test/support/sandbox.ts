import { startSandbox } from '../../src/sandbox/sandbox.js';
import type { RunningSandbox, SandboxOptions } from '../../src/sandbox/sandbox.js';
import { createManualClock, settlePromises } from './manual-clock.js';
import type { ManualClock } from './manual-clock.js';

export type JsonMap = Record<string, unknown>;

export type SandboxResponse = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; an empty object if it is not JSON. */
  readonly body: JsonMap;
  /** `errors` of the body. */
  readonly errors: readonly ErrorView[];
};

export type ErrorView = {
  readonly id: string;
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly source: { readonly pointer?: string; readonly parameter?: string };
};

export type SandboxUnderTest = {
  readonly clock: ManualClock;
  readonly sandbox: RunningSandbox;
  readonly post: (
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ) => Promise<SandboxResponse>;
  readonly get: (path: string, headers?: Record<string, string>) => Promise<SandboxResponse>;
  /** Sends only the headers of `init`. `path` may be a whole URL, such as a link in a response. */
  readonly send: (path: string, init: RequestInit) => Promise<SandboxResponse>;
};

export const goodHeaders = {
  authorization: 'Klaviyo-API-Key pk_test_1',
  revision: '2024-10-15',
  'content-type': 'application/vnd.api+json',
};

/**
 * A sandbox on a manual clock that stands at 2026-11-01T12:00:00Z. Rate windows are off unless a
 * test sets them.
 */
export async function startTestSandbox(
  options: Partial<SandboxOptions> = {},
): Promise<SandboxUnderTest> {
  const clock = createManualClock(Date.UTC(2026, 10, 1, 12));
  const sandbox = await startSandbox({ clock, windows: 'off', ...options });
  const send = async (path: string, init: RequestInit): Promise<SandboxResponse> => {
    const response = await fetch(path.startsWith('/') ? `${sandbox.url}${path}` : path, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true;
    const body = (isJson ? JSON.parse(text) : {}) as JsonMap;
    const errors = (body.errors ?? []) as readonly ErrorView[];
    return { status: response.status, headers: response.headers, text, body, errors };
  };
  return {
    clock,
    sandbox,
    send,
    get: (path, headers = {}) => send(path, { headers: { ...goodHeaders, ...headers } }),
    post: (path, body, headers = {}) =>
      send(path, {
        method: 'POST',
        headers: { ...goodHeaders, ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
  };
}

/** Runs the event loop until the condition holds, without advancing any clock. */
export async function turnsUntil(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000; turn++) {
    if (condition()) return;
    await settlePromises(1);
  }
  throw new Error('never came true');
}

/** One event, as a request contains it. */
export function toEvent(overrides: JsonMap = {}, name: unknown = 'Placed Order'): JsonMap {
  return {
    type: 'event',
    attributes: {
      properties: {},
      metric: { data: { type: 'metric', attributes: { name } } },
      ...overrides,
    },
  };
}

/** One element of a bulk request: a profile with its events. */
export function toWrapper(profile: JsonMap, events: readonly JsonMap[] = [toEvent()]): JsonMap {
  return {
    type: 'event-bulk-create',
    attributes: {
      profile: { data: { type: 'profile', attributes: profile } },
      events: { data: events },
    },
  };
}

export function toBulkEvents(wrappers: readonly unknown[]): JsonMap {
  return {
    data: {
      type: 'event-bulk-create-job',
      attributes: { 'events-bulk-create': { data: wrappers } },
    },
  };
}

/** The body of `POST /api/events`. */
export function toSingleEvent(profile: JsonMap, overrides: JsonMap = {}): JsonMap {
  return {
    data: toEvent({ profile: { data: { type: 'profile', attributes: profile } }, ...overrides }),
  };
}

export function toBulkProfiles(profiles: readonly JsonMap[], lists?: readonly string[]): JsonMap {
  return {
    data: {
      type: 'profile-bulk-import-job',
      attributes: {
        profiles: { data: profiles.map((attributes) => ({ type: 'profile', attributes })) },
      },
      ...(lists && {
        relationships: { lists: { data: lists.map((id) => ({ type: 'list', id })) } },
      }),
    },
  };
}

/** A consent in the `subscriptions` of a subscription job. */
export const subscribed = { marketing: { consent: 'SUBSCRIBED' } };
export const unsubscribed = { marketing: { consent: 'UNSUBSCRIBED' } };

/** The body of a subscription or unsubscription job. */
export function toConsentJob(
  action: 'create' | 'delete',
  profiles: readonly JsonMap[],
  { listId, ...attributes }: JsonMap & { readonly listId?: string } = {},
): JsonMap {
  return {
    data: {
      type: `profile-subscription-bulk-${action}-job`,
      attributes: {
        profiles: { data: profiles.map((profile) => ({ type: 'profile', attributes: profile })) },
        ...attributes,
      },
      ...(listId !== undefined && {
        relationships: { list: { data: { type: 'list', id: listId } } },
      }),
    },
  };
}

/** The body of a job that suppresses addresses or lifts their suppression. */
export function toSuppressionJob(
  action: 'create' | 'delete',
  emails: readonly unknown[],
  relationships?: JsonMap,
): JsonMap {
  const data = emails.map((email) => ({ type: 'profile', attributes: { email } }));
  return {
    data: {
      type: `profile-suppression-bulk-${action}-job`,
      attributes: data.length === 0 ? {} : { profiles: { data } },
      ...(relationships && { relationships }),
    },
  };
}

export function toDeletionJob(attributes: JsonMap, id?: string): JsonMap {
  const data = { type: 'profile', ...(id !== undefined && { id }), attributes };
  return { data: { type: 'data-privacy-deletion-job', attributes: { profile: { data } } } };
}

export function toMembers(ids: readonly string[]): JsonMap {
  return { data: ids.map((id) => ({ type: 'profile', id })) };
}

export function toProfileMerge(destination: string, sources: readonly string[]): JsonMap {
  const relationships = { profiles: toMembers(sources) };
  return { data: { type: 'profile-merge', id: destination, relationships } };
}

/** The body of a catalog job. `entries`: the members of each resource beside its type. */
export function toCatalogJob(
  kind: 'item' | 'variant',
  action: 'create' | 'update' | 'delete',
  entries: readonly JsonMap[],
): JsonMap {
  const data = entries.map((entry) => ({ type: `catalog-${kind}`, ...entry }));
  return {
    data: { type: `catalog-${kind}-bulk-${action}-job`, attributes: { [`${kind}s`]: { data } } },
  };
}

export function toCatalogItem(externalId: string, attributes: JsonMap = {}): JsonMap {
  const url = `https://shop.klaviyo-demo.com/${externalId}`;
  const texts = { title: 'Mug', description: 'A mug', url };
  return { attributes: { external_id: externalId, ...texts, ...attributes } };
}

export function toCatalogVariant(externalId: string, itemId: string): JsonMap {
  const { attributes } = toCatalogItem(externalId, {
    sku: `sku-${externalId}`,
    price: 9.5,
    inventory_quantity: 3,
  });
  const item = { data: { type: 'catalog-item', id: `$custom:::$default:::${itemId}` } };
  return { attributes, relationships: { item } };
}

export function toProfileImport(attributes: JsonMap, meta?: JsonMap): JsonMap {
  return { data: { type: 'profile', attributes, ...(meta && { meta }) } };
}
