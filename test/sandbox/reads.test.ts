import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  startTestSandbox,
  toBulkEvents,
  toBulkProfiles,
  toEvent,
  toProfileImport,
  toWrapper,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({
    importDelayMs: 300,
    faults: [
      {
        endpoint: 'bulk-profiles',
        poison: { when: { path: 'title', equals: 'bad' }, at: 'job', detail: 'suppressed' },
      },
    ],
  });
});
afterEach(() => at.sandbox.close());

type View = { readonly id: string; readonly type: string; readonly attributes: JsonMap };
const list = (response: SandboxResponse): View[] => response.body.data as View[];
const links = (response: SandboxResponse): Record<string, string | undefined> =>
  response.body.links as Record<string, string | undefined>;

/** Follows `links.next` to the end. */
const readAll = async (path: string, headers?: Record<string, string>): Promise<View[][]> => {
  const pages: View[][] = [];
  for (let next: string | undefined = path; next !== undefined;) {
    const response: SandboxResponse = await at.get(next, headers);
    expect(response.status).toBe(200);
    pages.push(list(response));
    next = links(response).next;
  }
  return pages;
};

const importJob = async (profiles: readonly JsonMap[]): Promise<string> => {
  const response = await at.post('/api/profile-bulk-import-jobs', toBulkProfiles(profiles));
  await at.clock.advance(300);
  return (response.body.data as View).id;
};

describe('reads of import jobs', () => {
  it('return their errors in pages with absolute links', async () => {
    const id = await importJob(
      Array.from({ length: 25 }, (_, index) => ({ external_id: `c${index}`, title: 'bad' })),
    );
    const path = `/api/profile-bulk-import-jobs/${id}/import-errors`;
    const pages = await readAll(`${path}?page[size]=10`);
    expect(pages.map((page) => page.length)).toEqual([10, 10, 5]);
    const payloads = pages.flat().map(({ attributes }) => attributes.original_payload as JsonMap);
    expect(payloads.map((payload) => payload.external_id)).toEqual(
      Array.from({ length: 25 }, (_, index) => `c${index}`),
    );
    const narrow = await at.get(`${path}?page[size]=25`);
    expect(links(narrow)).toEqual({ self: `${at.sandbox.url}${path}?page%5Bsize%5D=25` });
    const first = await at.get(path);
    expect(list(first)).toHaveLength(20);
    expect(links(first).next).toMatch(new RegExp(`^${at.sandbox.url}${path}\\?page%5Bcursor%5D=`));
  });

  it.each(['0', '101', 'x', '1.5'])('reject a page size of %s', async (size) => {
    const response = await at.get(`/api/profile-bulk-import-jobs?page[size]=${size}`);
    expect(response.status).toBe(400);
    expect(response.errors[0]).toMatchObject({
      code: 'invalid',
      source: { parameter: 'page[size]' },
    });
  });

  it.each([
    ['filter', 'any(status,["queued","cancelled"])'],
    ['filter', 'equals(status,"done")'],
    ['filter', 'any(status,"queued")'],
    ['filter', 'any(status,[])'],
    ['filter', 'any(status,["queued"]'],
    ['filter', 'any(id,["queued"])'],
    ['filter', 'equals(created_at,"2026-11-30T00:00:00Z")'],
    ['filter', 'contains(status,"queued")'],
    ['filter', 'not(equals(status,"queued"))'],
    ['filter', 'status'],
    ['sort', 'status'],
    ['sort', '-completed_at'],
    ['include', 'lists'],
    ['page[number]', '2'],
  ])('reject the parameter %s=%s with 400', async (parameter, value) => {
    const query = new URLSearchParams({ [parameter]: value });
    const response = await at.get(`/api/profile-bulk-import-jobs?${query.toString()}`);
    expect(response.status).toBe(400);
    expect(response.errors[0]).toMatchObject({ code: 'invalid', source: { parameter } });
  });

  it('page through the open jobs as the relay does', async () => {
    await importJob([{ external_id: 'done' }]);
    const ids: string[] = [];
    for (let job = 0; job < 5; job++) {
      const body = toBulkProfiles([{ external_id: `c${job}` }]);
      const response = await at.post('/api/profile-bulk-import-jobs', body);
      ids.unshift((response.body.data as View).id);
    }
    const query = new URLSearchParams({
      filter: 'any(status,["queued","processing"])',
      sort: '-created_at',
      'page[size]': '2',
    });
    const pages = await readAll(`/api/profile-bulk-import-jobs?${query.toString()}`);
    expect(pages.map((page) => page.map(({ id }) => id))).toEqual([
      ids.slice(0, 2),
      ids.slice(2, 4),
      ids.slice(4),
    ]);
    await at.clock.advance(300);
    expect(await readAll(`/api/profile-bulk-import-jobs?${query.toString()}`)).toEqual([[]]);
  });

  it('reject an invalid cursor', async () => {
    const response = await at.get('/api/profile-bulk-import-jobs?page[cursor]=zzz');
    expect(response.errors[0]?.source).toEqual({ parameter: 'page[cursor]' });
  });

  it('list the newest first, filtered by status and sorted', async () => {
    const done = await importJob([{ external_id: 'a' }]);
    const queued = await at.post(
      '/api/profile-bulk-import-jobs',
      toBulkProfiles([{ external_id: 'b' }]),
    );
    const { id } = queued.body.data as View;
    const ids = async (query: string): Promise<string[]> =>
      list(await at.get(`/api/profile-bulk-import-jobs${query}`)).map((job) => job.id);
    expect(await ids('')).toEqual([id, done]);
    expect(await ids('?sort=created_at')).toEqual([done, id]);
    expect(await ids("?filter=equals(status,'complete')")).toEqual([done]);
    expect(await ids('?filter=any(status,["queued","complete"])')).toEqual([id, done]);
  });

  it('return the profiles that a job wrote', async () => {
    const id = await importJob([{ external_id: 'a' }, { external_id: 'b', title: 'bad' }]);
    const response = await at.get(`/api/profile-bulk-import-jobs/${id}/profiles`);
    expect(list(response).map(({ attributes }) => attributes.external_id)).toEqual(['a']);
  });

  it('respond with 404 for a job that does not exist', async () => {
    for (const path of ['', '/import-errors', '/profiles']) {
      expect((await at.get(`/api/profile-bulk-import-jobs/none${path}`)).status).toBe(404);
    }
  });
});

describe('reads of profiles', () => {
  beforeEach(async () => {
    for (const name of ['cleo', 'ada', 'bo']) {
      const attributes = { email: `${name}@klaviyo-demo.com`, external_id: name };
      await at.post('/api/profile-import', toProfileImport(attributes));
      await at.clock.advance(1000);
    }
  });
  const names = async (query: string): Promise<unknown[]> =>
    list(await at.get(`/api/profiles${query}`)).map(({ attributes }) => attributes.external_id);

  it('are filtered and sorted', async () => {
    expect(await names('?filter=equals(email,"ada@klaviyo-demo.com")')).toEqual(['ada']);
    expect(await names('?filter=any(external_id,["bo","cleo"])')).toEqual(['cleo', 'bo']);
    expect(await names('?sort=email')).toEqual(['ada', 'bo', 'cleo']);
    expect(await names('?sort=-created')).toEqual(['bo', 'ada', 'cleo']);
  });

  it('return one profile with the requested fields', async () => {
    const [first] = list(await at.get('/api/profiles'));
    const one = await at.get(`/api/profiles/${first?.id}?fields[profile]=email,title`);
    expect((one.body.data as View).attributes).toEqual({
      email: 'cleo@klaviyo-demo.com',
      title: null,
    });
    expect((await at.get('/api/profiles/none')).status).toBe(404);
  });

  it.each([
    ['fields[profile]=shoe_size', 'fields[profile]'],
    ['fields[profile]=email,shoe.size', 'fields[profile]'],
    ['additional-fields[profile]=email', 'additional-fields[profile]'],
    ['filter=equals(shoe_size,"1")', 'filter'],
    ['filter=email', 'filter'],
    ['filter=equals(email,"a","b")', 'filter'],
    ['sort=shoe_size', 'sort'],
    ['include=lists', 'include'],
    ['limit=5', 'limit'],
  ])('reject ?%s with the name of the parameter', async (query, parameter) => {
    const response = await at.get(`/api/profiles?${query}`);
    expect(response.status).toBe(400);
    expect(response.errors[0]).toMatchObject({ code: 'invalid', source: { parameter } });
  });

  it("reject an unknown include with Klaviyo's text", async () => {
    const response = await at.get('/api/events?include=profiless');
    expect(response.errors[0]).toMatchObject({
      detail: "'profiless' is not an allowed include parameter for this resource.",
      source: { parameter: 'include' },
    });
  });
});

describe('reads of events and metrics', () => {
  beforeEach(async () => {
    await at.post(
      '/api/event-bulk-create-jobs',
      toBulkEvents([
        toWrapper({ external_id: 'a' }, [
          toEvent({
            time: '2026-05-05T10:00:00Z',
            unique_id: 'u1',
            value: 5,
            value_currency: 'USD',
            properties: { a: 1 },
          }),
          toEvent({ time: '2026-05-04T10:00:00Z', unique_id: 'u2' }, 'Viewed Product'),
        ]),
        toWrapper({ external_id: 'b' }, [
          toEvent({ time: '2026-05-06T10:00:00Z', unique_id: 'u3' }),
        ]),
      ]),
    );
  });
  const idsOf = (views: readonly View[]): unknown[] =>
    views.map(({ attributes }) => (attributes.event_properties as JsonMap).$event_id);

  it('return an event with its value, its time in seconds and its profile', async () => {
    const [event] = list(await at.get('/api/events?sort=datetime')).slice(1);
    expect(event).toMatchObject({
      type: 'event',
      attributes: {
        timestamp: Date.UTC(2026, 4, 5, 10) / 1000,
        datetime: '2026-05-05T10:00:00+00:00',
        event_properties: { a: 1, $event_id: 'u1', $value: 5, $currency_code: 'USD' },
      },
    });
  });

  it('are filtered by metric and profile and can include both', async () => {
    const metrics = list(await at.get('/api/metrics'));
    expect(metrics.map(({ attributes }) => attributes.name)).toEqual([
      'Placed Order',
      'Viewed Product',
    ]);
    const [, viewed] = metrics;
    const byMetric = await at.get(
      `/api/events?filter=equals(metric_id,"${viewed?.id}")&include=metric,profile`,
    );
    expect(idsOf(list(byMetric))).toEqual(['u2']);
    expect((byMetric.body.included as View[]).map(({ type }) => type)).toEqual([
      'metric',
      'profile',
    ]);
    const [profile] = list(await at.get('/api/profiles?filter=equals(external_id,"b")'));
    const byProfile = await at.get(`/api/events?filter=equals(profile_id,"${profile?.id}")`);
    expect(idsOf(list(byProfile))).toEqual(['u3']);
  });

  it('return pages', async () => {
    const later = { revision: '2026-01-15' };
    const pages = await readAll('/api/events?page[size]=2&sort=-timestamp', later);
    expect(pages.map(idsOf)).toEqual([['u3', 'u1'], ['u2']]);
  });
});

it('the account of the sandbox is marked as a test account', async () => {
  const [account] = list(await at.get('/api/accounts'));
  expect(account).toMatchObject({ type: 'account', attributes: { test_account: true } });
});
