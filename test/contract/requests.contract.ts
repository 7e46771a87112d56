import { describe, expect, it } from 'vitest';
import type { Lane, PostedLane } from '../../src/model/lane.js';
import type { Draft } from '../../src/model/envelope.js';
import { isBackfilled } from '../../src/model/backfill.js';
import { createAccept } from '../../src/ingest/accept.js';
import { hasWhatsApp } from '../../src/klaviyo/lanes/lane.js';
import { laneApis } from '../../src/klaviyo/lanes/list.js';
import { mergeProfiles } from '../../src/klaviyo/merge-profiles.js';
import { toNewRevision } from '../../src/klaviyo/revision.js';
import { createMetrics } from '../../src/metrics.js';
import { createManualClock } from '../support/manual-clock.js';
import { aClient, respondJson, startKlaviyoServer } from '../klaviyo/klaviyo-server.js';
import { aRevision, newestRules } from '../support/revisions.js';
import { loadOpenApi, revisions } from './reference.js';

/** What callers post, as klaviyo as it differs for Klaviyo. */
const events = {
  'an e-mail address alone': { event_name: 'Viewed Product', email: 'ada@klaviyo-demo.com' },
  'a phone number alone': { event_name: 'Viewed Product', phone_number: '+1 500 555 0006' },
  'an id alone': { event_name: 'Viewed Product', distinct_id: 'customer-42' },
  'a number for an id': { event_name: 'Viewed Product', distinct_id: 42, insert_id: 7 },
  'an anonymous id alone': { event_name: 'Viewed Product', anonymous_id: 'browser-7c1e' },
  'a number for an anonymous id': { event_name: 'Viewed Product', anonymous_id: 7 },
  'a phone number that is none': {
    event_name: 'Viewed Product',
    phone_number: '12',
    distinct_id: 'customer-42',
  },
  everything: {
    event_name: 'Placed Order',
    email: 'ada@klaviyo-demo.com',
    distinct_id: 'customer-42',
    phone_number: '+15005550006',
    anonymous_id: 'browser-7c1e',
    event_time: '2026-01-10T09:30:00.123+02:00',
    insert_id: 'order-1001',
    properties: { coupon: 'WINTER', items: [{ sku: 'AB-1', quantity: 2 }], gift: null, n: 1e21 },
    value: 129.9,
    order_id: '1001',
    total_amount: 139.9,
    currency: 'eur',
  },
  'nulls for absent fields': {
    event_name: 'Viewed Product',
    email: 'ada@klaviyo-demo.com',
    distinct_id: null,
    value: null,
    currency: null,
    event_time: null,
  },
  'a currency without a value': {
    event_name: 'Viewed Product',
    email: 'ada@klaviyo-demo.com',
    currency: 'USD',
  },
};

const listProfile = {
  email: 'ada@klaviyo-demo.com',
  phone_number: '+15005550006',
  distinct_id: 'customer-42',
  first_name: 'Ada',
  lists: ['Y6nRLr'],
};

const subscriptions = {
  'e-mail': { email: 'ada@klaviyo-demo.com', channels: { email: ['marketing'] } },
  'text message': {
    phone_number: '+1 500 555 0006',
    channels: { sms: ['marketing', 'transactional'] },
    list_id: 'Y6nRLr',
    custom_source: 'Checkout',
  },
  'two channels, given earlier': {
    email: 'ada@klaviyo-demo.com',
    phone_number: '+15005550006',
    distinct_id: 'customer-42',
    channels: { email: ['marketing'], sms: ['marketing'] },
    historical: true,
    consented_at: '2020-01-10T09:30:00+02:00',
  },
};

const unsubscriptions = {
  'a list': {
    email: 'ada@klaviyo-demo.com',
    channels: { email: ['marketing'] },
    list_id: 'Y6nRLr',
  },
  everything: {
    phone_number: '+15005550006',
    channels: { sms: ['marketing'] },
    everywhere: true,
  },
};

const profiles = {
  'an e-mail address alone': { email: 'ada@klaviyo-demo.com' },
  'a phone number alone': { phone_number: '+15005550006' },
  'an id alone': { distinct_id: 42 },
  everything: {
    email: 'ada@klaviyo-demo.com',
    distinct_id: 'customer-42',
    phone_number: '+15005550006',
    first_name: 'Ada',
    last_name: 'Lovelace',
    organization: 'Analytical Engines',
    locale: 'en-US',
    title: 'Analyst',
    image: 'https://klaviyo-demo.com/ada.png',
    location: {
      address1: '89 E 42nd St',
      address2: '1st floor',
      city: 'New York',
      country: 'United States',
      latitude: 40.7128,
      longitude: '-74.0060',
      region: 'NY',
      zip: '10017',
      timezone: 'America/New_York',
      ip: '127.0.0.1',
    },
    properties: { plan: 'gold', tags: ['a', 'b'] },
    shoe_size: 38,
  },
};

const exactUpdates = {
  'nulls in all that can be cleared': {
    email: 'ada@klaviyo-demo.com',
    first_name: null,
    last_name: null,
    organization: null,
    locale: null,
    title: null,
    image: null,
    location: null,
    shoe_size: null,
  },
  'a part of the location': { phone_number: '+15005550006', location: { city: null, zip: '1' } },
  'changes of lists in custom properties': {
    distinct_id: 'customer-42',
    first_name: 'Ada',
    properties: { plan: 'gold' },
    append: { tags: ['a', 7, true], skus: '92538' },
    unappend: { sizes: 38 },
    unset: ['coupon'],
  },
};

async function toPayloads(
  lane: PostedLane,
  entries: readonly unknown[],
  backfillAfterMs = Infinity,
): Promise<readonly Uint8Array[]> {
  const appended: Draft[] = [];
  let made = 0;
  const accept = createAccept({
    store: {
      putFacts: () => Promise.resolve({ ok: true }),
      getFacts: (keys) => Promise.resolve(keys.map(() => null)),
      append(drafts) {
        appended.push(...drafts);
        const envelopes = drafts.map((_, index) => ({ id: String(index), duplicate: false }));
        return Promise.resolve({ ok: true, envelopes });
      },
    },
    eventRules: () => newestRules,
    backfillAfterMs,
    clock: createManualClock(),
    metrics: createMetrics('test'),
    newId: () => `id-${++made}`,
  });
  const options = { format: 'json', strict: true } as const;
  const result = await accept.many(lane, Buffer.from(JSON.stringify(entries)), options);
  expect(result).toMatchObject({ kind: 'accepted', accepted: entries.length });
  return appended.map(({ payload }) => payload);
}

const toJson = (lane: Lane, payloads: readonly Uint8Array[]): unknown =>
  JSON.parse(laneApis[lane].body.join(payloads).toString());

describe.each(revisions)(
  'with revision %s, Klaviyo’s API description permits the request of the relay',
  (revision) => {
    const openApi = loadOpenApi(revision);
    const findIssues = (lane: Lane, body: unknown): readonly string[] =>
      openApi.findRequestIssues(`POST ${laneApis[lane].path}`, body);

    it.each(Object.entries(events))('with an event of %s', async (_name, event) => {
      expect(findIssues('events', toJson('events', await toPayloads('events', [event])))).toEqual(
        [],
      );
    });

    it.each(Object.entries(profiles))('with a profile of %s', async (_name, profile) => {
      const payloads = await toPayloads('profiles', [profile]);
      expect(findIssues('profiles', toJson('profiles', payloads))).toEqual([]);
    });

    it.each(Object.entries(exactUpdates))('with an exact update of %s', async (_name, profile) => {
      const payloads = await toPayloads('profiles', [profile]);
      expect(findIssues('update_profile', toJson('update_profile', payloads))).toEqual([]);
    });

    it('with an import into a list', async () => {
      const [profile, addition] = await toPayloads('profiles', [listProfile]);
      expect(findIssues('profiles', toJson('profiles', [profile!]))).toEqual([]);
      const body = toJson('add_to_list', [addition!, addition!]);
      expect(findIssues('add_to_list', body)).toEqual([]);
      expect(JSON.stringify(body)).toContain('"id":"Y6nRLr"');
      expect(JSON.stringify(body)).not.toContain('first_name');
    });

    it('with a removal from a list, and with the look-ups before it', async () => {
      const { lists, ...person } = listProfile;
      const profile = { ...person, remove_from_lists: lists };
      const [, removal] = await toPayloads('profiles', [profile]);
      const { method, path, lookUp, body, scopes } = laneApis.remove_from_list;
      const found = { id: '01GDDKASAP8TKDDA2GRZDSVP4H', attributes: { email: profile.email } };
      const elements = lookUp.toElements([removal!], [found]).flat();
      const sent: unknown = JSON.parse(
        body.join(elements.map((each) => Buffer.from(each))).toString(),
      );
      expect(sent).toEqual({ data: [{ type: 'profile', id: found.id }] });
      const operation = `${method} ${path}`;
      expect(openApi.findRequestIssues(operation, sent)).toEqual([]);
      expect(openApi.findRequestIssues(operation, { data: [{ type: 'profile' }] })).not.toEqual([]);
      expect(openApi.findResponseIssues(operation, 204, undefined)).toEqual([]);
      expect(openApi.describe(operation).scopes).toEqual([...scopes].sort());
      expect(openApi.describe(operation).limits).toEqual([10, 150]);
      const urls = lookUp.toPaths([removal!]).map((each) => new URL(each, 'http://localhost'));
      expect(urls).toHaveLength(3);
      for (const { pathname, searchParams } of urls) {
        expect(openApi.findQueryIssues(`GET ${pathname}`, searchParams)).toEqual([]);
        expect(openApi.describe(`GET ${pathname}`).scopes).toEqual([...lookUp.scopes]);
      }
    });

    it('and forbids an exact update with an unknown change of properties', () => {
      const meta = { patch_properties: { remove: ['plan'] } };
      const body = { data: { type: 'profile', attributes: {}, meta } };
      expect(findIssues('update_profile', body)).not.toEqual([]);
    });

    it.each(Object.entries(subscriptions))('with a subscription by %s', async (_name, entry) => {
      const payloads = await toPayloads('subscribe', [entry]);
      expect(findIssues('subscribe', toJson('subscribe', payloads))).toEqual([]);
    });

    it.each(Object.entries(unsubscriptions))(
      'with an unsubscription from %s',
      async (_name, entry) => {
        const payloads = await toPayloads('unsubscribe', [entry, entry]);
        expect(findIssues('unsubscribe', toJson('unsubscribe', payloads))).toEqual([]);
      },
    );

    it.each(['suppress', 'unsuppress'] as const)('with two addresses to %s', async (lane) => {
      const entries = ['ada', 'bo'].map((name) => ({ email: `${name}@klaviyo-demo.com` }));
      expect(findIssues(lane, toJson(lane, await toPayloads(lane, entries)))).toEqual([]);
    });

    it.each([{ email: 'ada@klaviyo-demo.com' }, { phone_number: '+15005550006' }])(
      'with an erasure of %j',
      async (entry) => {
        const payloads = await toPayloads('erase', [entry]);
        expect(findIssues('erase', toJson('erase', payloads))).toEqual([]);
      },
    );

    it('with WhatsApp under the revision that such requests have, and not under an older one', async () => {
      const payloads = await toPayloads('subscribe', [
        { phone_number: '+15005550006', channels: { whatsapp: ['marketing'] } },
      ]);
      expect(payloads.some(hasWhatsApp)).toBe(true);
      const body = toJson('subscribe', payloads);
      const sentUnder = revisions.find((each) => each === toNewRevision(revision))!;
      const path = `POST ${laneApis.subscribe.path}`;
      expect(loadOpenApi(sentUnder).findRequestIssues(path, body)).toEqual([]);
      expect(findIssues('subscribe', body).length > 0).toBe(revision < '2025-10-15');
    });

    it('with many events', async () => {
      const payloads = await toPayloads('events', Object.values(events));
      expect(findIssues('events', toJson('events', payloads))).toEqual([]);
    });

    it('with merged profiles', async () => {
      const payloads = await toPayloads('profiles', Object.values(profiles));
      const merged = mergeProfiles(payloads);
      expect(findIssues('profiles', toJson('profiles', [merged]))).toEqual([]);
    });

    it.each(['events', 'profiles'] as const)(
      'with an anonymous id on %s: on an event in each revision, on a profile only in the older one',
      async (lane) => {
        const [payload] = await toPayloads('events', [events['an anonymous id alone']]);
        const profile = { type: 'profile', attributes: { anonymous_id: 'browser-7c1e' } };
        const payloads = lane === 'events' ? [payload!] : [Buffer.from(JSON.stringify(profile))];
        const isAccepted = findIssues(lane, toJson(lane, payloads)).length === 0;
        expect(isAccepted).toBe(lane === 'events' || revision === '2024-10-15');
      },
    );

    it('for the list of import jobs', async () => {
      const requestedUrls: URL[] = [];
      const klaviyo = await startKlaviyoServer((response, { path }) => {
        const url = new URL(path, 'http://localhost');
        requestedUrls.push(url);
        const next = requestedUrls.length === 1 ? 'http://localhost/?page%5Bcursor%5D=two' : null;
        respondJson(response, { body: { data: [], links: { self: 'http://localhost/', next } } });
      });
      const { client } = aClient(klaviyo.url, { revision: aRevision(revision) });
      await client.listImportJobs(new Set(['a', 'b']));
      await client.close();
      await klaviyo.close();
      expect(requestedUrls.map(({ searchParams }) => searchParams.get('page[cursor]'))).toEqual([
        null,
        'two',
      ]);
      for (const { pathname, searchParams } of requestedUrls) {
        expect(pathname).toBe('/api/profile-bulk-import-jobs');
        expect(openApi.findQueryIssues(`GET ${pathname}`, searchParams)).toEqual([]);
      }
    });

    it.each([
      ['page[size]=101', /page\[size\]: .*must be <= 100/],
      ['sort=status', /sort: .*allowed values/],
      ['filter=any(id,["a"])', /filter: any of id/],
      ['filter=contains(status,"queued")', /filter: contains of status/],
      ['filter=any(status,"queued")', /filter: value/],
      ['page[number]=2', /page\[number\] is not a parameter/],
    ])('and forbids the query %s', (query, issue) => {
      const issues = openApi.findQueryIssues(
        'GET /api/profile-bulk-import-jobs',
        new URLSearchParams(query),
      );
      expect(issues.join('\n')).toMatch(issue);
    });

    it.runIf(revision >= '2026-04-15')('and forbids a status that the filter does not have', () => {
      const query = new URLSearchParams({ filter: 'any(status,["queued","cancelled"])' });
      expect(openApi.findQueryIssues('GET /api/profile-bulk-import-jobs', query)).toEqual([
        'filter: cancelled',
      ]);
    });

    it('with a backfilled event under the revision of such requests', async () => {
      const old = { ...events.everything, event_time: '2026-01-10T09:30:00Z' };
      const payloads = await toPayloads('events', [events['an id alone'], old], 86_400_000);
      expect(payloads.map((payload) => isBackfilled('events', payload))).toEqual([false, true]);
      const body = toJson('events', payloads);
      const sentUnder = revisions.find((each) => each === toNewRevision(revision))!;
      expect(
        loadOpenApi(sentUnder).findRequestIssues(`POST ${laneApis.events.path}`, body),
      ).toEqual([]);
    });

    it('and forbids missing, unknown and wrong fields', () => {
      const event = {
        type: 'event-bulk-create',
        attributes: { profile: {}, events: { data: [{}] } },
      };
      const profile = { type: 'profile', attributes: { email: 7, surname: 'x' } };
      const payload = (value: unknown) => [Buffer.from(JSON.stringify(value))];
      expect(findIssues('events', toJson('events', payload(event)))).not.toEqual([]);
      const found = findIssues('profiles', toJson('profiles', payload(profile))).join('\n');
      expect(found).toContain('"additionalProperty":"surname"');
      expect(found).toContain('/attributes/email must be string');
    });
  },
);
