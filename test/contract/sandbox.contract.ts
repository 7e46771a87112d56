import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { getWindows } from '../../src/sandbox/endpoints.js';
import { operations } from '../../src/sandbox/operations.js';
import { findRevision } from '../../src/sandbox/revisions.js';
import { goodHeaders, startTestSandbox, type SandboxUnderTest } from '../support/sandbox.js';
import { toLaneExamples } from './lane-bodies.js';
import { loadOpenApi, readRequestExamples, revisions, type OpenApi } from './reference.js';

/** The sandbox's `{id}` in the notation of Klaviyo's document. */
const paths: Readonly<Record<string, string>> = {
  '/api/profile-bulk-import-jobs/{id}': '/api/profile-bulk-import-jobs/{job_id}',
  ...Object.fromEntries(
    [
      ...['profile-suppression-bulk-create-jobs', 'profile-suppression-bulk-delete-jobs'],
      ...['catalog-item-bulk-create-jobs', 'catalog-variant-bulk-create-jobs'],
    ].map((name) => [`/api/${name}/{id}`, `/api/${name}/{job_id}`]),
  ),
};

function toDescribed(name: string): string {
  const [method, path = ''] = name.split(' ');
  return `${method} ${paths[path] ?? path}`;
}

let under: SandboxUnderTest;
beforeEach(async () => {
  under = await startTestSandbox();
});
afterEach(() => under.sandbox.close());

type Wanted = { readonly status?: number; readonly body?: unknown };

const examples = new Map(readRequestExamples());
const markedProfile = {
  data: {
    type: 'profile-bulk-import-job',
    attributes: {
      profiles: {
        data: Array.from({ length: 3 }, (_, index) => ({
          type: 'profile',
          attributes: { external_id: `bad-${index}`, title: 'bad' },
        })),
      },
    },
  },
};

const listedProfile = {
  data: {
    type: 'profile-bulk-import-job',
    attributes: {
      profiles: { data: [{ type: 'profile', attributes: { external_id: 'listed' } }] },
    },
    relationships: { lists: { data: [{ type: 'list', id: 'Y6nRLr' }] } },
  },
};

describe.each(revisions)('with revision %s', (revision) => {
  const openApi: OpenApi = loadOpenApi(revision);
  const headers = { revision };
  /** Makes a request, expects the status, and checks the response against the description. Returns the body. */
  const call = async (name: string, path: string, { status = 200, body }: Wanted = {}) => {
    const reply = name.startsWith('GET')
      ? await under.get(path, headers)
      : await under.send(path, {
          method: name.split(' ')[0] ?? '',
          headers: { ...goodHeaders, ...headers },
          body: JSON.stringify(body),
        });
    expect(`${name}: ${reply.status} ${reply.text.slice(0, 300)}`).toContain(`${name}: ${status} `);
    const responseBody: unknown = reply.text === '' ? undefined : reply.body;
    expect(openApi.findResponseIssues(toDescribed(name), status, responseBody)).toEqual([]);
    called.add(name);
    return reply.body;
  };
  const called = new Set<string>();

  it('every operation of the sandbox responds as Klaviyo’s API description says', async () => {
    const jobs = '/api/profile-bulk-import-jobs';
    for (const [name, body] of examples) {
      // The profile exists because of its events, so 200; the others are 202.
      const status = name === 'POST /api/profile-import' ? 200 : 202;
      await call(name, name.slice('POST '.length), { status, body });
    }
    const newProfile = { data: { type: 'profile', attributes: { external_id: 'new' } } };
    await call('POST /api/profile-import', '/api/profile-import', {
      status: 201,
      body: newProfile,
    });
    under.sandbox.addFault({
      endpoint: 'bulk-profiles',
      poison: { when: { path: 'title', equals: 'bad' }, at: 'job' },
    });
    const made = await call(`POST ${jobs}`, jobs, { status: 202, body: markedProfile });
    const { id } = made.data as { id: string };
    await call(`GET ${jobs}/{id}`, `${jobs}/${id}`);
    await call(`GET ${jobs}`, `${jobs}?page[size]=1`);
    await under.clock.advance(1000);
    const ended = await call(`GET ${jobs}/{id}`, `${jobs}/${id}`);
    expect(ended).toMatchObject({ data: { attributes: { status: 'complete', failed_count: 3 } } });
    const errors = await call(
      `GET ${jobs}/{id}/import-errors`,
      `${jobs}/${id}/import-errors?page[size]=2`,
    );
    expect(errors.data).toHaveLength(2);
    await call(`GET ${jobs}/{id}/profiles`, `${jobs}/${id}/profiles`);
    const profiles = await call('GET /api/profiles', '/api/profiles');
    const [profile] = profiles.data as { id: string }[];
    const more = 'additional-fields[profile]=subscriptions,predictive_analytics';
    await call('GET /api/profiles/{id}', `/api/profiles/${profile!.id}?include=lists&${more}`);
    const attributes = { email: 'new@klaviyo-demo.com' };
    await call('POST /api/profiles', '/api/profiles', {
      status: 201,
      body: { data: { type: 'profile', attributes } },
    });
    await call('POST /api/profiles', '/api/profiles', {
      status: 409,
      body: { data: { type: 'profile', attributes } },
    });
    await call('PATCH /api/profiles/{id}', `/api/profiles/${profile!.id}?${more}`, {
      body: { data: { type: 'profile', id: profile!.id, attributes: { title: 'Analyst' } } },
    });
    const events = await call('GET /api/events', '/api/events?include=metric,profile');
    const [event] = events.data as { id: string }[];
    await call('GET /api/events/{id}', `/api/events/${event!.id}?include=metric,profile`);
    await call('GET /api/metrics', '/api/metrics?filter=equals(integration.name,"API")');
    await call('GET /api/accounts', '/api/accounts');
    const listed = await call(`POST ${jobs}`, jobs, { status: 202, body: listedProfile });
    const listedId = (listed.data as { id: string }).id;
    await under.clock.advance(1000);
    await call(`GET ${jobs}/{id}`, `${jobs}/${listedId}?include=lists`);
    await call(`GET ${jobs}/{id}/lists`, `${jobs}/${listedId}/lists`);
    expect((await call('GET /api/lists', '/api/lists')).data).toHaveLength(1);
    /** Sends each body, which must be as described, and returns the last response. */
    const send = async (name: string, path = name.split(' ')[1] ?? '') => {
      const { status, bodies } = toLaneExamples(revision, await readPeople())[name]!;
      let answered: Record<string, unknown> = {};
      for (const body of bodies) {
        expect(openApi.findRequestIssues(toDescribed(name), body)).toEqual([]);
        answered = await call(name, path, { status, body });
      }
      await under.clock.advance(1000);
      return answered;
    };
    const readPeople = async (): Promise<readonly string[]> =>
      ((await call('GET /api/profiles', '/api/profiles')).data as { id: string }[]).map(
        (one) => one.id,
      );
    await send('POST /api/profile-subscription-bulk-create-jobs');
    await call('GET /api/profiles', `/api/profiles?${more}`);
    await send('POST /api/profile-subscription-bulk-delete-jobs');
    for (const action of ['create', 'delete']) {
      const path = `/api/profile-suppression-bulk-${action}-jobs`;
      const { data } = await send(`POST ${path}`);
      await call(`GET ${path}/{id}`, `${path}/${(data as { id: string }).id}`);
      await call(`GET ${path}`, `${path}?filter=equals(status,"complete")&sort=-created`);
    }
    const withMore = await call('GET /api/profiles', `/api/profiles?${more}`);
    expect(JSON.stringify(withMore)).toContain('UNSUBSCRIBED');
    for (const method of ['POST', 'DELETE']) {
      const name = `${method} /api/lists/{id}/relationships/profiles`;
      await send(name, '/api/lists/Y6nRLr/relationships/profiles');
    }
    for (const kind of ['item', 'variant']) {
      const path = `/api/catalog-${kind}-bulk-create-jobs`;
      const { data } = await send(`POST ${path}`);
      const job = `${path}/${(data as { id: string }).id}`;
      const read = await call(`GET ${path}/{id}`, `${job}?include=${kind}s`);
      expect(read.included).toHaveLength(1);
    }
    for (const kind of ['variant', 'item']) {
      await send(`POST /api/catalog-${kind}-bulk-update-jobs`);
      await send(`POST /api/catalog-${kind}-bulk-delete-jobs`);
    }
    await send('POST /api/profile-merge');
    await send('POST /api/data-privacy-deletion-jobs');
    expect([...called].sort()).toEqual(
      operations
        .map(({ method, path }) => `${method} ${path}`)
        .filter((name) => openApi.has(toDescribed(name)))
        .sort(),
    );
  });

  it.each(operations.filter(({ method }) => method === 'POST'))(
    '$name rejects as Klaviyo’s API description says',
    async ({ path }) => {
      await call(`POST ${path}`, path, { status: 400, body: { data: { type: 'x' } } });
      under.sandbox.addFault({ status: 429, retryAfter: 1, times: 1 });
      await call(`POST ${path}`, path, { status: 429, body: {} });
      under.sandbox.addFault({ status: 503, times: 1 });
      await call(`POST ${path}`, path, { status: 503, body: {} });
      const wrongKey = { ...goodHeaders, revision, authorization: 'Klaviyo-API-Key no' };
      const reply = await under.send(path, { method: 'POST', headers: wrongKey, body: '{}' });
      expect(reply.status).toBe(401);
      expect(openApi.findResponseIssues(`POST ${path}`, 401, reply.body)).toEqual([]);
    },
  );

  it('every operation needs the scopes and has the limits of Klaviyo’s API description', () => {
    const described = operations.filter(({ method, path }) =>
      openApi.has(toDescribed(`${method} ${path}`)),
    );
    const toOwn = (operation: (typeof operations)[number]) => ({
      limits: getWindows(operation, findRevision(revision)!, undefined).map(({ limit }) => limit),
      scopes: [...operation.scopes].sort(),
    });
    expect(described.map((one) => [one.name, toOwn(one)])).toEqual(
      described.map(({ name, method, path }) => {
        const { limits, scopes } = openApi.describe(toDescribed(`${method} ${path}`));
        return [name, { limits, scopes }];
      }),
    );
  });

  it('the sandbox has the rules of Klaviyo’s API description', () => {
    const bulk = openApi.describe('POST /api/event-bulk-create-jobs').requestBody;
    const wrapper = ['data', 'attributes', 'events-bulk-create', 'data', 'attributes'];
    const event = [...wrapper, 'events', 'data', 'attributes'];
    const profile = openApi.describe('POST /api/profile-import').requestBody;
    const events = openApi.describe('GET /api/events');
    const lists = openApi.describe('GET /api/lists');
    const subscribe = openApi.describe('POST /api/profile-subscription-bulk-create-jobs');
    const person = ['data', 'attributes', 'profiles', 'data', 'attributes'];
    const takes = (...path: readonly string[]): boolean =>
      subscribe.requestBody([...person, 'subscriptions', ...path]) !== undefined;
    const suppress = openApi.describe('POST /api/profile-suppression-bulk-create-jobs');
    const catalogRead = openApi.describe('GET /api/catalog-item-bulk-create-jobs/{job_id}');
    const text = (...path: readonly string[]): string => bulk(path)?.description ?? '';
    expect(findRevision(revision)).toEqual({
      date: revision,
      // The older file has no limit; Klaviyo's guides of that time say 300.
      maxEventProperties: Number(
        /exceed (\d+) properties/.exec(text(...event, 'properties'))?.[1] ?? 300,
      ),
      earliestEventYear: Number(/after the year (\d+)/.exec(text(...event, 'time'))?.[1]),
      failsOnRepeatedUniqueId: text(...event, 'unique_id').includes('the request will fail'),
      takesBackfill: bulk([...event, 'backfill']) !== undefined,
      takesAnonymousIdOnImport: profile(['data', 'attributes', 'anonymous_id']) !== undefined,
      takesPatchIdentifiers: profile(['data', 'meta', 'patch_identifiers']) !== undefined,
      pagesEventsBySize: events.parameters.includes('page[size]'),
      filtersEventsByHasMetric: events.filter.includes('`metric`: `has`'),
      pagesListsBySize: lists.parameters.includes('page[size]'),
      requiresSubscriptions:
        subscribe.requestBody(person)?.required?.includes('subscriptions') === true,
      takesWhatsAppConsent: takes('whatsapp'),
      takesPushConsent: takes('push'),
      takesOpenTrackingConsent: takes('email', 'open_tracking'),
      selectsFieldsOfNewJobs: suppress.parameters.some((name) => name.startsWith('fields')),
      catalogReadTier: catalogRead.perMinute === 3500 ? 'XL' : 'L',
      largeTierPerMinute: openApi.describe('GET /api/profiles').perMinute,
    });
    expect(bulk([...wrapper, 'backfill']) !== undefined).toBe(
      findRevision(revision)?.takesBackfill,
    );
  });

  it('the check reports a response that the description does not permit', () => {
    const path = 'GET /api/profile-bulk-import-jobs/{job_id}';
    expect(openApi.findResponseIssues(path, 200, { data: { id: 7 } })).not.toEqual([]);
    expect(openApi.findResponseIssues(path, 404, {})).not.toEqual([]);
    expect(openApi.findResponseIssues('POST /api/event-bulk-create-jobs', 202, {})).toEqual([
      'there should be no body',
    ]);
    expect(openApi.findResponseIssues(path, 302, undefined)).toEqual([
      'status 302 is not described',
    ]);
  });
});
