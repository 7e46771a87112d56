import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import * as klaviyo from 'klaviyo-api';
import {
  AccountsApi,
  ApiKeySession,
  CatalogsApi,
  DataPrivacyApi,
  EventsApi,
  FilterBuilder,
  ListsApi,
  MetricsApi,
  ObjectSerializer,
  ProfilesApi,
  RetryWithExponentialBackoff,
} from 'klaviyo-api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { getWindows } from '../../src/sandbox/endpoints.js';
import { operations } from '../../src/sandbox/operations.js';
import { findRevision } from '../../src/sandbox/revisions.js';
import { startRelay } from '../support/relay.js';
import { startTestSandbox } from '../support/sandbox.js';
import type { SandboxUnderTest } from '../support/sandbox.js';
import {
  eventsBody,
  laterWrapper,
  postedEvents,
  postedProfiles,
  profilesBody,
} from './client-bodies.js';

/** The revision of the client's release. */
const revision = '2026-07-15';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({ importDelayMs: 300 });
});
afterEach(() => at.sandbox.close());

/** The client of the package, with another server address. */
function toClient(url = at.sandbox.url) {
  const session = new ApiKeySession('pk_test', new RetryWithExponentialBackoff({ numRetries: 1 }));
  const pointed = <T extends { basePath: string }>(api: T): T => {
    api.basePath = url;
    return api;
  };
  return {
    events: pointed(new EventsApi(session)),
    profiles: pointed(new ProfilesApi(session)),
    metrics: pointed(new MetricsApi(session)),
    accounts: pointed(new AccountsApi(session)),
    lists: pointed(new ListsApi(session)),
    privacy: pointed(new DataPrivacyApi(session)),
    catalogs: pointed(new CatalogsApi(session)),
  };
}

type Failed = { readonly response?: { readonly status: number; readonly data: unknown } };

/** The status and the first error of what the client throws. */
async function toFailure(call: Promise<unknown>): Promise<{ status: number; error: unknown }> {
  const failed = await call.then(
    () => ({}),
    (error: unknown) => error as Failed,
  );
  const { status = 0, data } = (failed as Failed).response ?? {};
  return { status, error: (data as { errors?: readonly unknown[] } | undefined)?.errors?.[0] };
}

/** Five events of two metrics, one a day from 2026-10-01 on, by five people. */
async function sendEvents(): Promise<void> {
  const { events } = toClient();
  for (const day of [1, 2, 3, 4, 5]) {
    await events.createEvent({
      data: {
        type: 'event',
        attributes: {
          properties: { day, someName: 1, other_name: 2 },
          time: new Date(Date.UTC(2026, 9, day)),
          uniqueId: `u${day}`,
          value: day,
          valueCurrency: 'USD',
          metric: {
            data: {
              type: 'metric',
              attributes: { name: day % 2 === 1 ? 'Placed Order' : 'Viewed Product' },
            },
          },
          profile: {
            data: { type: 'profile', attributes: { email: `day${day}@klaviyo-demo.com` } },
          },
        },
      },
    });
    await at.clock.advance(60_000);
  }
}

const third = new Date(Date.UTC(2026, 9, 3));

describe('the events of Klaviyo’s client', () => {
  beforeEach(sendEvents);

  type Options = Parameters<EventsApi['getEvents']>[0];
  const days = async (options: Options): Promise<unknown[]> =>
    (await toClient().events.getEvents(options)).body.data.map(
      ({ attributes }) => (attributes.eventProperties as { day: number }).day,
    );

  it('are recorded as sent', () => {
    expect(at.sandbox.state().events[0]).toMatchObject({
      metric: 'Placed Order',
      who: 'day1@klaviyo-demo.com',
      uniqueId: 'u1',
      time: '2026-10-01T00:00:00.000Z',
      properties: { day: 1, someName: 1, other_name: 2 },
      value: 1,
      valueCurrency: 'USD',
      backfill: false,
    });
    expect(at.sandbox.state().requests[0]).toMatchObject({ revision, servedRevision: revision });
  });

  it('are filtered by time in both forms, by metric and by profile', async () => {
    const build = (): FilterBuilder => new FilterBuilder();
    expect(await days({ filter: build().greaterThan('datetime', third).build() })).toEqual([5, 4]);
    expect(await days({ filter: build().greaterOrEqual('datetime', third).build() })).toEqual([
      5, 4, 3,
    ]);
    expect(await days({ filter: build().lessThan('datetime', third).build() })).toEqual([2, 1]);
    const seconds = third.getTime() / 1000;
    expect(await days({ filter: build().lessOrEqual('timestamp', seconds).build() })).toEqual([
      3, 2, 1,
    ]);
    const [placed] = (await toClient().metrics.getMetrics()).body.data;
    const both = build().greaterThan('datetime', third).equals('metric_id', placed!.id).build();
    expect(await days({ filter: both })).toEqual([5]);
    expect(await days({ filter: 'and(has(metric),has(profile))' })).toEqual([5, 4, 3, 2, 1]);
  });

  it('are sorted and read with selected fields and included resources', async () => {
    expect(await days({ sort: 'datetime' })).toEqual([1, 2, 3, 4, 5]);
    const { body } = await toClient().events.getEvents({
      sort: '-timestamp',
      pageSize: 1,
      fieldsEvent: ['datetime'],
      fieldsMetric: ['name'],
      include: ['metric', 'profile', 'attributions'],
    });
    expect(JSON.parse(JSON.stringify(body.data[0]?.attributes))).toEqual({
      datetime: '2026-10-05T00:00:00.000Z',
    });
    expect(body.included?.map(({ type }) => type)).toEqual(['metric', 'profile']);
    expect(JSON.parse(JSON.stringify(body.included?.[0]))).toMatchObject({
      attributes: { name: 'Placed Order' },
    });
  });

  it('are read in pages, by the whole link and by its cursor', async () => {
    const { events } = toClient();
    const first = await events.getEvents({ sort: 'datetime', pageSize: 2 });
    const next = first.body.links?.next ?? '';
    expect(next).toMatch(/^http:\/\/127\.0\.0\.1/);
    for (const pageCursor of [next, new URL(next).searchParams.get('page[cursor]') ?? '']) {
      expect(await days({ sort: 'datetime', pageSize: 2, pageCursor })).toEqual([3, 4]);
    }
    // The client turns Klaviyo's own links, which begin with https, into this form.
    const secure = next.replace('http:', 'https:');
    expect(await days({ sort: 'datetime', pageSize: 2, pageCursor: secure })).toEqual([3, 4]);
    const foreign = next.replace('/api/events', '/api/profiles');
    const failure = await toFailure(events.getEvents({ pageCursor: foreign }));
    expect(failure).toMatchObject({ status: 400, error: { detail: 'Invalid cursor provided.' } });
  });

  it('are read one by one, with metric and profile', async () => {
    const { events } = toClient();
    const [newest] = (await events.getEvents()).body.data;
    const id = newest!.id;
    const { body } = await events.getEvent(id, { include: ['metric', 'profile'] });
    expect(body.data).toMatchObject({
      id,
      attributes: { timestamp: Date.UTC(2026, 9, 5) / 1000, eventProperties: { day: 5 } },
    });
    expect(body.included?.map(({ type }) => type)).toEqual(['metric', 'profile']);
    const metric = await events.getMetricForEvent(id);
    expect(metric.body.data?.attributes.name).toBe('Placed Order');
    expect((await events.getMetricIdForEvent(id)).body.data?.id).toBe(metric.body.data?.id);
    const profile = await events.getProfileForEvent(id);
    expect(profile.body.data.attributes.email).toBe('day5@klaviyo-demo.com');
    expect((await events.getProfileIdForEvent(id)).body.data?.id).toBe(profile.body.data.id);
    expect((await toFailure(events.getEvent('none'))).status).toBe(404);
  });

  it('may be backfilled and may have only an anonymous id', async () => {
    await toClient().events.bulkCreateEvents({
      data: {
        type: 'event-bulk-create-job',
        attributes: { eventsBulkCreate: { data: [laterWrapper] } },
      },
    });
    const { events, profiles } = at.sandbox.state();
    expect(events.at(-1)).toMatchObject({ metric: 'Viewed Product', backfill: false });
    expect(profiles.at(-1)?.attributes).toEqual({ anonymous_id: 'visitor-2' });
  });
});

describe('the metrics and the account of Klaviyo’s client', () => {
  beforeEach(sendEvents);

  it('are filtered and read one by one with selected fields', async () => {
    const { metrics } = toClient();
    const filter = (field: string, value: string): string =>
      new FilterBuilder().equals(field, value).build();
    const names = async (text: string): Promise<unknown[]> =>
      (await metrics.getMetrics({ filter: text, fieldsMetric: ['name'] })).body.data.map(
        ({ attributes }) => attributes.name,
      );
    expect(await names(filter('integration.name', 'API'))).toEqual([
      'Placed Order',
      'Viewed Product',
    ]);
    expect(await names(filter('integration.category', 'ecommerce'))).toEqual([]);
    const [first] = (await metrics.getMetrics({ include: ['flow-triggers'] })).body.data;
    const one = await metrics.getMetric(first!.id);
    expect(one.body.data.attributes.name).toBe('Placed Order');
    expect(one.body.data.attributes.created).toBe('2026-11-01T12:00:00.000Z');
    expect((await metrics.getFlowsTriggeredByMetric(first!.id)).body.data).toEqual([]);
    expect((await metrics.getIdsForFlowsTriggeredByMetric(first!.id)).body.data).toEqual([]);
    expect((await toFailure(metrics.getMetric('none'))).status).toBe(404);
  });

  it('are read, the account also by its id', async () => {
    const { accounts } = toClient();
    const [account] = (await accounts.getAccounts()).body.data;
    const { body } = await accounts.getAccount(account!.id, {
      fieldsAccount: ['timezone', 'contact_information.organization_name'],
    });
    expect(JSON.parse(JSON.stringify(body.data.attributes))).toEqual({
      timezone: 'UTC',
      contactInformation: { organizationName: 'Klaviyo sandbox' },
    });
    expect((await toFailure(accounts.getAccount('other'))).status).toBe(404);
  });
});

describe('the profiles of Klaviyo’s client', () => {
  const create = (email: string) =>
    toClient().profiles.createProfile({
      data: {
        type: 'profile',
        attributes: { email, firstName: 'Ada', properties: { some_name: 1, someName: 2 } },
      },
    });

  it('are created once, and a repetition is a conflict with the id of the first', async () => {
    const made = await create('ada@klaviyo-demo.com');
    expect(made.response.status).toBe(201);
    expect(made.body.data).toMatchObject({
      type: 'profile',
      attributes: { firstName: 'Ada', properties: { some_name: 1, someName: 2 } },
    });
    expect(await toFailure(create('ADA@klaviyo-demo.com'))).toMatchObject({
      status: 409,
      error: { code: 'duplicate_profile', meta: { duplicate_profile_id: made.body.data.id } },
    });
  });

  it('are updated: null clears a field, and an identifier of another profile is a conflict', async () => {
    const { profiles } = toClient();
    const { id } = (await create('ada@klaviyo-demo.com')).body.data as { id: string };
    await create('bo@klaviyo-demo.com');
    const update = (attributes: { firstName?: null; lastName?: string; email?: string }) =>
      profiles.updateProfile(id, {
        data: {
          type: 'profile',
          id,
          attributes,
          meta: { patchProperties: { append: { tags: 'vip' } } },
        },
      });
    const { body, response } = await update({ firstName: null, lastName: 'Lovelace' });
    expect(response.status).toBe(200);
    expect(body.data.attributes).toMatchObject({
      email: 'ada@klaviyo-demo.com',
      firstName: null,
      lastName: 'Lovelace',
      properties: { some_name: 1, someName: 2, tags: ['vip'] },
    });
    expect((await toFailure(update({ email: 'bo@klaviyo-demo.com' }))).status).toBe(409);
    const none = { data: { type: 'profile' as const, id: 'none', attributes: {} } };
    expect((await toFailure(profiles.updateProfile('none', none))).status).toBe(404);
    expect(await toFailure(profiles.updateProfile(id, none))).toMatchObject({
      status: 400,
      error: { source: { pointer: '/data/id' } },
    });
  });

  it('are filtered by times of creation and update, sorted and read in pages', async () => {
    const { profiles } = toClient();
    for (const name of ['cleo', 'ada', 'bo']) {
      await create(`${name}@klaviyo-demo.com`);
      await at.clock.advance(60_000);
    }
    const emails = async (options: Parameters<ProfilesApi['getProfiles']>[0]) =>
      (await profiles.getProfiles(options)).body.data.map(({ attributes }) => attributes.email);
    const minute = new Date(Date.UTC(2026, 10, 1, 12, 1));
    const build = (): FilterBuilder => new FilterBuilder();
    expect(await emails({ filter: build().greaterThan('created', minute).build() })).toEqual([
      'bo@klaviyo-demo.com',
    ]);
    expect(await emails({ filter: build().lessThan('updated', minute).build() })).toEqual([
      'cleo@klaviyo-demo.com',
    ]);
    const between = build()
      .greaterThan('created', new Date(Date.UTC(2026, 10, 1)))
      .equals('email', 'ada@klaviyo-demo.com')
      .build();
    expect(await emails({ filter: between })).toEqual(['ada@klaviyo-demo.com']);
    const first = await profiles.getProfiles({ sort: 'email', pageSize: 2 });
    const pageCursor = first.body.links?.next ?? '';
    expect(await emails({ sort: 'email', pageSize: 2, pageCursor })).toEqual([
      'cleo@klaviyo-demo.com',
    ]);
    // Klaviyo has no greater-or-equal here.
    const closed = { filter: build().greaterOrEqual('created', minute).build() };
    expect(await toFailure(profiles.getProfiles(closed))).toMatchObject({
      status: 400,
      error: { source: { parameter: 'filter' } },
    });
  });

  it('contain subscriptions and predictions if the request includes them', async () => {
    const { profiles } = toClient();
    const { id } = (await create('ada@klaviyo-demo.com')).body.data as { id: string };
    const bare = (await profiles.getProfile(id)).body.data.attributes;
    expect(bare.subscriptions).toBeUndefined();
    expect(bare.predictiveAnalytics).toBeUndefined();
    const { attributes } = (
      await profiles.getProfile(id, {
        additionalFieldsProfile: ['subscriptions', 'predictive_analytics'],
        fieldsProfile: ['email', 'location.city'],
        include: ['lists', 'segments', 'push-tokens', 'conversations'],
      })
    ).body.data;
    expect(attributes.subscriptions?.email?.marketing).toMatchObject({
      canReceiveEmailMarketing: true,
      consent: 'NEVER_SUBSCRIBED',
    });
    expect(attributes.predictiveAnalytics).toMatchObject({ historicClv: null });
    expect([attributes.email, attributes.firstName]).toEqual(['ada@klaviyo-demo.com', undefined]);
    const upserted = await profiles.createOrUpdateProfile(
      { data: { type: 'profile', attributes: { email: 'ada@klaviyo-demo.com' } } },
      { additionalFieldsProfile: ['subscriptions'] },
    );
    expect(upserted.body.data.attributes.subscriptions?.sms?.marketing?.consent).toBe(
      'NEVER_SUBSCRIBED',
    );
  });
});

describe('the import jobs and lists of Klaviyo’s client', () => {
  const importThree = async (): Promise<string> => {
    const made = await toClient().profiles.bulkImportProfiles({
      data: {
        type: 'profile-bulk-import-job',
        attributes: {
          profiles: {
            data: ['ada', 'bo', 'cleo'].map((name) => ({
              type: 'profile',
              attributes: { email: `${name}@klaviyo-demo.com`, title: name },
            })),
          },
        },
        relationships: { lists: { data: [{ type: 'list', id: 'Y6nRLr' }] } },
      },
    });
    expect(made.response.status).toBe(202);
    await at.clock.advance(300);
    return made.body.data.id;
  };

  it('link a job to its profiles, errors and lists', async () => {
    at.sandbox.addFault({
      endpoint: 'bulk-profiles',
      poison: { when: { path: 'title', equals: 'bo' }, at: 'job', detail: 'suppressed' },
    });
    const id = await importThree();
    const { profiles } = toClient();
    const job = await profiles.getBulkImportProfilesJob(id, { include: ['lists'] });
    expect(job.body.data.attributes).toMatchObject({
      status: 'complete',
      totalCount: 3,
      completedCount: 2,
      failedCount: 1,
    });
    expect(job.body.included?.map((one) => one.id)).toEqual(['Y6nRLr']);
    const errors = await profiles.getErrorsForBulkImportProfilesJob(id);
    expect(errors.body.data.map(({ attributes }) => attributes.detail)).toEqual(['suppressed']);
    const whole = await profiles.getProfilesForBulkImportProfilesJob(id, { pageSize: 1 });
    const more = await profiles.getProfilesForBulkImportProfilesJob(id, {
      pageSize: 1,
      pageCursor: whole.body.links?.next ?? '',
    });
    const emails = [...whole.body.data, ...more.body.data].map((one) => one.attributes.email);
    expect(emails).toEqual(['ada@klaviyo-demo.com', 'cleo@klaviyo-demo.com']);
    const ids = await profiles.getProfileIdsForBulkImportProfilesJob(id);
    expect(ids.body.data.map((one) => one.id)).toEqual(
      [...whole.body.data, ...more.body.data].map((one) => one.id),
    );
    const lists = await profiles.getListForBulkImportProfilesJob(id);
    expect(lists.body.data.map((one) => one.attributes.name)).toEqual(['List Y6nRLr']);
    const listIds = await profiles.getListIdsForBulkImportProfilesJob(id);
    expect(listIds.body.data.map((one) => one.id)).toEqual(['Y6nRLr']);
    const filter = new FilterBuilder().any('status', ['queued', 'complete']).build();
    const jobs = await profiles.getBulkImportProfilesJobs({ filter, sort: '-created_at' });
    expect(jobs.body.data.map((one) => one.id)).toEqual([id]);
  });

  it('add profiles to the list of a job, and link lists and profiles', async () => {
    await importThree();
    const { lists, profiles } = toClient();
    const named = new FilterBuilder().equals('name', ['List Y6nRLr']).build();
    const all = await lists.getLists({ filter: named, sort: '-created', pageSize: 5 });
    expect(all.body.data.map((one) => one.id)).toEqual(['Y6nRLr']);
    const one = await lists.getList('Y6nRLr', { additionalFieldsList: ['profile_count'] });
    expect(one.body.data.attributes).toMatchObject({ name: 'List Y6nRLr', profileCount: 3 });
    const bare = (await lists.getList('Y6nRLr')).body.data.attributes;
    expect(bare.profileCount).toBeUndefined();
    const filter = new FilterBuilder().equals('email', 'bo@klaviyo-demo.com').build();
    const [member] = (await lists.getProfilesForList('Y6nRLr', { filter })).body.data;
    expect(member?.attributes.title).toBe('bo');
    const memberIds = (await lists.getProfileIdsForList('Y6nRLr')).body.data;
    expect(memberIds).toHaveLength(3);
    expect(memberIds.map((identifier) => identifier.id)).toContain(member?.id);
    const back = await profiles.getListsForProfile(member!.id!);
    expect(back.body.data.map((list) => list.id)).toEqual(['Y6nRLr']);
    const backIds = await profiles.getListIdsForProfile(member!.id!);
    expect(backIds.body.data.map((list) => list.id)).toEqual(['Y6nRLr']);
    expect((await lists.getTagsForList('Y6nRLr')).body.data).toEqual([]);
    expect((await toFailure(lists.getList('none'))).status).toBe(404);
  });
});

describe('the consent of Klaviyo’s client', () => {
  const email = 'ada@klaviyo-demo.com';
  const subscribe = (consentedAt?: Date) =>
    toClient().profiles.bulkSubscribeProfiles({
      data: {
        type: 'profile-subscription-bulk-create-job',
        attributes: {
          profiles: {
            data: [
              {
                type: 'profile',
                attributes: {
                  email,
                  phoneNumber: '+15005550006',
                  subscriptions: {
                    email: {
                      marketing: { consent: 'SUBSCRIBED', ...(consentedAt && { consentedAt }) },
                    },
                    ...(consentedAt === undefined && {
                      sms: { transactional: { consent: 'SUBSCRIBED' as const } },
                    }),
                  },
                },
              },
            ],
          },
          customSource: 'Footer',
          ...(consentedAt && { historicalImport: true }),
        },
        relationships: { list: { data: { type: 'list', id: 'Y6nRLr' } } },
      },
    });
  const readProfile = async () => {
    const { data } = (
      await toClient().profiles.getProfiles({ additionalFieldsProfile: ['subscriptions'] })
    ).body;
    return data[0]!;
  };

  it('is granted, withdrawn and shown', async () => {
    const { profiles } = toClient();
    expect((await subscribe()).response.status).toBe(202);
    await at.clock.advance(300);
    expect((await readProfile()).attributes.subscriptions).toMatchObject({
      email: { marketing: { consent: 'SUBSCRIBED', customMethodDetail: 'Footer' } },
      sms: { transactional: { consent: 'SUBSCRIBED' }, marketing: { consent: 'NEVER_SUBSCRIBED' } },
    });
    await profiles.bulkUnsubscribeProfiles({
      data: {
        type: 'profile-subscription-bulk-delete-job',
        attributes: {
          profiles: {
            data: [
              {
                type: 'profile',
                attributes: {
                  email,
                  subscriptions: { email: { marketing: { consent: 'UNSUBSCRIBED' } } },
                },
              },
            ],
          },
        },
      },
    });
    await at.clock.advance(300);
    const { subscriptions } = (await readProfile()).attributes;
    expect(subscriptions?.email?.marketing).toMatchObject({
      consent: 'UNSUBSCRIBED',
      canReceiveEmailMarketing: false,
      suppression: [{ reason: 'UNSUBSCRIBE' }],
    });
  });

  it('has the time of a historical import', async () => {
    const past = new Date(Date.UTC(2024, 4, 1));
    expect((await subscribe(past)).response.status).toBe(202);
    await at.clock.advance(300);
    const { subscriptions } = (await readProfile()).attributes;
    expect(subscriptions?.email?.marketing?.consentTimestamp).toEqual(past);
    const future = await toFailure(subscribe(new Date(Date.UTC(2027, 0, 1))));
    expect(future).toMatchObject({ status: 400, error: { code: 'invalid' } });
  });

  it('is independent of suppressions, list members and deletion', async () => {
    const { profiles, lists, privacy } = toClient();
    await subscribe();
    await at.clock.advance(300);
    const made = await profiles.bulkSuppressProfiles({
      data: {
        type: 'profile-suppression-bulk-create-job',
        attributes: { profiles: { data: [{ type: 'profile', attributes: { email } }] } },
      },
    });
    await at.clock.advance(300);
    const job = await profiles.getBulkSuppressProfilesJob(made.body.data.id);
    expect(job.body.data.attributes).toMatchObject({ status: 'complete', completedCount: 1 });
    const id = (await readProfile()).id ?? '';
    await lists.removeProfilesFromList('Y6nRLr', { data: [{ type: 'profile', id }] });
    expect(at.sandbox.state().profiles).toMatchObject([
      {
        lists: [],
        suppressions: [{ reason: 'USER_SUPPRESSED' }],
        consent: { 'email.marketing': { status: 'SUBSCRIBED' } },
      },
    ]);
    await lists.addProfilesToList('Y6nRLr', { data: [{ type: 'profile', id }] });
    expect(at.sandbox.state().profiles).toMatchObject([{ lists: ['Y6nRLr'] }]);
    await privacy.requestProfileDeletion({
      data: {
        type: 'data-privacy-deletion-job',
        attributes: { profile: { data: { type: 'profile', attributes: { email } } } },
      },
    });
    await at.clock.advance(300);
    expect(at.sandbox.state().profiles).toEqual([]);
  });
});

it('the catalog of Klaviyo’s client is filled by a job', async () => {
  const { catalogs } = toClient();
  const made = await catalogs.bulkCreateCatalogItems({
    data: {
      type: 'catalog-item-bulk-create-job',
      attributes: {
        items: {
          data: [
            {
              type: 'catalog-item',
              attributes: {
                externalId: 'mug',
                title: 'Mug',
                description: 'A mug',
                url: 'https://shop.klaviyo-demo.com/mug',
                customMetadata: { color: 'red' },
              },
            },
          ],
        },
      },
    },
  });
  await at.clock.advance(300);
  const { body } = await catalogs.getBulkCreateCatalogItemsJob(made.body.data.id, {
    include: ['items'],
  });
  expect(body.data.attributes).toMatchObject({ status: 'complete', completedCount: 1 });
  expect(body.included?.map(({ attributes }) => attributes.title)).toEqual(['Mug']);
});

type Method = (this: object, ...values: readonly unknown[]) => Promise<unknown>;
type ApiClass = new (session: ApiKeySession) => object;

// OAuthApi always connects to klaviyo.com.
const isApi = (name: string, exported: unknown): exported is ApiClass =>
  name.endsWith('Api') && name !== 'OAuthApi' && typeof exported === 'function';

/** Every method of every API of the client whose base path can be set to the sandbox. */
function toMethods(): readonly { readonly name: string; readonly call: () => Promise<unknown> }[] {
  const session = new ApiKeySession('pk_test', new RetryWithExponentialBackoff({ numRetries: 1 }));
  return Object.entries<unknown>(klaviyo).flatMap(([api, exported]) => {
    if (!isApi(api, exported)) return [];
    const made = new exported(session);
    Object.assign(made, { basePath: at.sandbox.url });
    const own = Object.getPrototypeOf(made) as Record<string, unknown>;
    return (
      Object.getOwnPropertyNames(own)
        .filter((name) => /^[a-z]+[A-Z]/.test(name) && typeof own[name] === 'function')
        // Many methods have aliases, which come after the first name.
        .filter((name, place, all) => all.findIndex((one) => own[one] === own[name]) === place)
        .map((name) => ({
          name: `${api}.${name}`,
          // The same arguments for all methods: a method with fewer parameters ignores the rest.
          call: () => (own[name] as Method).call(made, 'x', {}, {}),
        }))
    );
  });
}

describe('every method of Klaviyo’s client', () => {
  it('is answered by the sandbox, with a 501 if docs/reference/sandbox.md does not list it', async () => {
    const played: string[] = [];
    const unsent: string[] = [];
    for (const { name, call } of toMethods()) {
      const before = at.sandbox.state().requests.length;
      const failure = await toFailure(call());
      const request = at.sandbox.state().requests[before];
      if (request === undefined) unsent.push(name);
      else if (request.status !== 501) played.push(name);
      const detail = (failure.error as { detail?: string } | undefined)?.detail;
      expect([name, detail]).not.toEqual([name, 'No valid revisions found for method']);
      expect([name, request?.status]).not.toEqual([name, 405]);
      expect([name, request?.status]).not.toEqual([name, 500]);
    }
    const isPlayed = /^(?:Accounts|Catalogs|DataPrivacy|Events|Lists|Metrics|Profiles)Api\./;
    expect(played.filter((name) => !isPlayed.test(name))).toEqual([]);
    expect(unsent).toEqual([]);
    const docs = readFileSync('docs/reference/sandbox.md', 'utf8');
    const documented = [...docs.matchAll(/`(\w+Api)`: ([^\n|]+)/g)].flatMap(([, api, methods]) =>
      [...(methods ?? '').matchAll(/`(\w+)`/g)].map(([, method]) => `${api}.${method}`),
    );
    expect(documented.sort()).toEqual(played.sort());
  });

  it('has the scopes and limits in the sandbox that the documentation of the client states', () => {
    const documented = readDocumented();
    const stated = operations.map(({ method, path }) => documented.get(`${method} ${path}`));
    const played = operations.map((operation) => ({
      scopes: [...operation.scopes].sort(),
      limits: getWindows(operation, findRevision(revision)!, undefined).map(({ limit }) => limit),
    }));
    expect(played).toEqual(stated);
  });
});

type Documented = { readonly scopes: readonly string[]; readonly limits: readonly number[] };

/** The scopes and limits in the comments of the client's source, by method and path. */
function readDocumented(): ReadonlyMap<string, Documented> {
  const found = new Map<string, Documented>();
  const folder = fileURLToPath(new URL('../../node_modules/klaviyo-api/api/', import.meta.url));
  for (const file of readdirSync(folder)) {
    const methods = readFileSync(`${folder}${file}`, 'utf8').split(/^\s+\/\*\*$/m);
    for (const text of methods) {
      const [, path] = /localVarPath = this\.basePath \+ '([^']+)'/.exec(text) ?? [];
      const [, method] = /^\s+method: '([A-Z]+)',$/m.exec(text) ?? [];
      const [, burst, steady] = /Burst: `(\d+)\/s`(?:<br>|\s)*Steady: `(\d+)\/m`/.exec(text) ?? [];
      if (path === undefined || method === undefined) continue;
      const [, scopes = ''] = /\*\*Scopes:\*\*(.*?)\[OpenAPI Spec\]/s.exec(text) ?? [];
      found.set(`${method} ${path.replace(/\{\w+\}/g, '{id}')}`, {
        scopes: [...scopes.matchAll(/`([^`]+)`/g)].map(([, scope]) => scope ?? '').sort(),
        limits: [Number(burst), Number(steady)],
      });
    }
  }
  return found;
}

/** A proxy before the sandbox that records the request bodies, by path. */
async function startRecorder(target: () => string) {
  const bodies = new Map<string, unknown>();
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks);
      const { method = 'GET', url: path = '/', headers } = request;
      if (method === 'POST') bodies.set(path, JSON.parse(body.toString()));
      const { authorization = '', revision: requested = '', 'content-type': type = '' } = headers;
      const result = await fetch(`${target()}${path}`, {
        method,
        headers: { authorization, revision: String(requested), 'content-type': type },
        ...(method === 'POST' && { body }),
      });
      const text = await result.text();
      const contentType = result.headers.get('content-type');
      response.writeHead(
        result.status,
        contentType === null ? {} : { 'content-type': contentType },
      );
      response.end(text);
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    bodies,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** The JSON that the client sends. Absent members stay absent. */
const toWire = (body: object, type: string): unknown =>
  JSON.parse(JSON.stringify(ObjectSerializer.serialize(body, type)));

/** The bodies of the relay's requests for `postedEvents` and `postedProfiles`, by path. */
async function captureBodies(): Promise<ReadonlyMap<string, unknown>> {
  let target = '';
  const recorder = await startRecorder(() => target);
  const relay = await startRelay({ env: { KLAVIYO_BASE_URL: recorder.url } });
  target = relay.sandbox.url;
  try {
    await relay.post('/v1/events/batch', { events: postedEvents });
    await relay.post('/v1/profiles/batch', { profiles: postedProfiles });
    await relay.untilSettled();
    return recorder.bodies;
  } finally {
    await relay.stop();
    await recorder.close();
  }
}

describe('a request of the relay', () => {
  it.each([
    ['/api/event-bulk-create-jobs', 'EventsBulkCreateJob', eventsBody],
    ['/api/profile-bulk-import-jobs', 'ProfileImportJobCreateQuery', profilesBody],
  ])(
    'to %s is equal to the request of Klaviyo’s client with the same content',
    async (path, type, body) => {
      const sent = (await captureBodies()).get(path);
      expect(sent).toEqual(toWire(body, type));
      // The client drops unknown members when it reads a body.
      expect(toWire(ObjectSerializer.deserialize(sent, type) as object, type)).toEqual(sent);
    },
  );

  it('has the same effect as the request of the client', async () => {
    const { events, profiles } = toClient();
    await events.bulkCreateEvents(eventsBody);
    await profiles.bulkImportProfiles(profilesBody);
    await at.clock.advance(300);
    const relay = await startRelay();
    try {
      await relay.post('/v1/events/batch', { events: postedEvents });
      await relay.untilSettled();
      await relay.post('/v1/profiles/batch', { profiles: postedProfiles });
      await relay.untilSettled();
      const toContent = ({ sandbox }: { readonly sandbox: typeof at.sandbox }) => {
        const state = sandbox.state();
        return {
          events: state.events.map((event) => ({ ...event, recordedAt: 0 })),
          profiles: state.profiles.map(({ attributes }) => attributes),
        };
      };
      expect(toContent(relay)).toEqual(toContent(at));
    } finally {
      await relay.stop();
    }
  });
});
