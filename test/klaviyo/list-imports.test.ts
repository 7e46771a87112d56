import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KlaviyoClient } from '../../src/klaviyo/client.js';
import { aClient, respondJson, startKlaviyoServer, type KlaviyoServer } from './klaviyo-server.js';

type Page = {
  readonly status?: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
};

let klaviyo: KlaviyoServer;
let client: KlaviyoClient;
/** Klaviyo's responses by cursor; the test sets them. */
let pageAfter: (cursor: string | null) => Page;
let permits: number;

beforeEach(async () => {
  permits = 0;
  pageAfter = () => aPage([]);
  klaviyo = await startKlaviyoServer((response, { path }) => {
    const { searchParams } = new URL(path, 'http://localhost');
    const { status = 200, body, headers = {} } = pageAfter(searchParams.get('page[cursor]'));
    if (body === undefined) response.writeHead(status, headers).end('<html>');
    else respondJson(response, { status, body, headers });
  });
  ({ client } = aClient(klaviyo.url));
});
afterEach(async () => {
  await client.close();
  await klaviyo.close();
});

const jobType = 'profile-bulk-import-job';

const aJob = (id: string, attributes: Record<string, unknown> = {}, type = jobType): object => ({
  type,
  id,
  attributes: {
    status: 'processing',
    created_at: '2026-11-30T08:00:00Z',
    total_count: 5,
    ...attributes,
  },
});

const aPage = (jobs: readonly object[], next: string | null = null): Page => ({
  body: { data: jobs, links: { self: klaviyo.url, ...(next !== null && { next }) } },
});

const aCursor = (name: string): string => `https://a.klaviyo.com/api/x?page%5Bcursor%5D=${name}`;

const refusal = (detail: string): object => ({
  errors: [{ id: 'e1', status: 400, code: 'invalid', title: 'Invalid input.', detail }],
});

const list = (...refs: readonly string[]) =>
  client.listImportJobs(new Set(refs), () => {
    permits++;
    return Promise.resolve();
  });

const openOf = ({ open }: Awaited<ReturnType<typeof list>>): readonly string[] =>
  open.map(({ id, status }) => `${id} ${status}`);

describe('the list of open import jobs', () => {
  it('is one request for up to 100 jobs, newest first, by status', async () => {
    pageAfter = () => aPage([aJob('a'), aJob('b', { status: 'queued' })]);
    const listed = await list('a', 'b');
    expect(openOf(listed)).toEqual(['a processing', 'b queued']);
    expect(listed).toMatchObject({ end: 'complete', requests: 1 });
    expect(permits).toBe(1);
    const url = new URL(klaviyo.requests[0]!.path, klaviyo.url);
    expect(klaviyo.requests[0]?.method).toBe('GET');
    expect(url.pathname).toBe('/api/profile-bulk-import-jobs');
    expect(Object.fromEntries(url.searchParams)).toEqual({
      filter: 'any(status,["queued","processing"])',
      sort: '-created_at',
      'page[size]': '100',
    });
  });

  it('leaves out other jobs of the account', async () => {
    pageAfter = () => aPage([aJob('theirs-1'), aJob('a'), aJob('theirs-2')]);
    expect(await list('a', 'b')).toMatchObject({ open: [{ id: 'a' }], end: 'complete' });
  });

  it.each<[string, object]>([
    ['complete', aJob('a', { status: 'complete', completed_count: 5, failed_count: 0 })],
    ['cancelled', aJob('a', { status: 'cancelled' })],
    ['in an unknown state', aJob('a', { status: 'paused' })],
    ['without a status', aJob('a', { status: null })],
    ['without its counts', aJob('a', { total_count: undefined })],
    ['without attributes', { type: jobType, id: 'a' }],
  ])('does not show a job as open if it is %s', async (_name, job) => {
    pageAfter = () => aPage([job, aJob('b')]);
    expect(await list('a', 'b')).toMatchObject({ open: [{ id: 'b' }], end: 'complete' });
  });

  it('is read page after page, each with a permit of its own, until all jobs are found', async () => {
    const pages: Record<string, Page> = {
      first: aPage([aJob('theirs'), aJob('a')], aCursor('second')),
      second: aPage([aJob('b')], aCursor('third')),
      third: aPage([aJob('c')], aCursor('fourth')),
    };
    pageAfter = (cursor) => pages[cursor ?? 'first'] ?? { status: 500 };
    const listed = await list('a', 'b', 'c', 'd', 'e', 'f');
    expect(openOf(listed)).toEqual(['a processing', 'b processing', 'c processing']);
    expect(listed).toMatchObject({ end: 'partial', requests: 3 });
    expect(permits).toBe(3);
    expect(await list('a', 'b', 'x')).toMatchObject({ end: 'partial', requests: 2 });
    expect(await list('a', 'theirs')).toMatchObject({ end: 'complete', requests: 1 });
  });

  it('is read no further when polling each missing job costs no more', async () => {
    let page = 0;
    pageAfter = () => aPage([aJob(`theirs-${page}`)], aCursor(String(++page)));
    expect(await list('a', 'b', 'c', 'd')).toMatchObject({ open: [], end: 'partial', requests: 4 });
  });

  it('is read up to a bound if other clients have endless pages', async () => {
    let page = 0;
    pageAfter = () => aPage([aJob(`theirs-${page}`)], aCursor(String(++page)));
    const refs = Array.from({ length: 500 }, (_, index) => `ours-${index}`);
    expect(await list(...refs)).toMatchObject({ end: 'partial', requests: 10 });
  });

  it('is read no further when a cursor comes again', async () => {
    pageAfter = () => aPage([aJob('a')], aCursor('same'));
    expect(await list('a', 'b', 'c', 'd', 'e')).toMatchObject({ end: 'partial', requests: 2 });
  });

  it('is requested only from Klaviyo, wherever a link leads', async () => {
    const other = await startKlaviyoServer((response) => respondJson(response, { body: {} }));
    pageAfter = (cursor) =>
      cursor === null
        ? aPage([aJob('a')], `${other.url}/elsewhere?page[cursor]=second`)
        : aPage([aJob('b')]);
    expect(openOf(await list('a', 'b', 'c'))).toEqual(['a processing', 'b processing']);
    expect(other.requests).toEqual([]);
    await other.close();
  });

  const isNone: readonly (readonly [string, Page])[] = [
    ['a 400 because of the filter', { status: 400, body: refusal('Invalid filter') }],
    ['a 401', { status: 401, body: refusal('Incorrect authentication credentials.') }],
    ['a 403', { status: 403, body: refusal('You do not have permission.') }],
    ['a 404', { status: 404, body: refusal('No valid revisions found for method') }],
    ['a 410', { status: 410, body: refusal('This revision is retired.') }],
    ['a 500', { status: 500 }],
    ['a page', { status: 200 }],
    ['a body of a proxy', { body: { message: 'OK' } }],
    ['one job', { body: { data: aJob('a') } }],
    ['a list of something else', { body: { data: [aJob('a', {}, 'profile')] } }],
    ['a list without resources', { body: { data: ['a'] } }],
    ['a list beside errors', { body: { data: [aJob('a')], errors: [] } }],
    ['a 202', { status: 202, body: { data: [aJob('a')] } }],
    ['a 204', { status: 204, body: { data: [] } }],
  ];

  it.each(isNone)('is a failure if the response is %s', async (_name, page) => {
    pageAfter = () => page;
    expect(await list('a', 'b')).toMatchObject({ open: [], end: 'failed', requests: 1 });
  });

  it.each(isNone)('has the jobs of its first page if the second response is %s', async (...of) => {
    const [, page] = of;
    pageAfter = (cursor) => (cursor === null ? aPage([aJob('a')], aCursor('second')) : page);
    const listed = await list('a', 'b', 'c');
    expect(openOf(listed)).toEqual(['a processing']);
    expect(listed).toMatchObject({ end: 'failed', requests: 2 });
  });

  it('has the Retry-After of a 429 and the rate feedback', async () => {
    pageAfter = () => ({ status: 429, body: {}, headers: { 'retry-after': '3' } });
    expect(await list('a')).toMatchObject({ end: 'failed', feedback: { retryAfterMs: 3000 } });
    pageAfter = () => ({ ...aPage([]), headers: { 'ratelimit-limit': '10, 10;w=1' } });
    expect(await list('a')).toMatchObject({
      end: 'complete',
      feedback: { windows: [{ limit: 10, windowMs: 1000 }] },
    });
  });

  it('is a failure if no response arrives', async () => {
    await klaviyo.close();
    expect(await list('a')).toMatchObject({ open: [], end: 'failed', feedback: null });
    klaviyo = await startKlaviyoServer(() => undefined);
  });

  it('rejects as its permit does, without a request', async () => {
    const stopped = new Error('stopped');
    const listing = client.listImportJobs(new Set(['a']), () => Promise.reject(stopped));
    await expect(listing).rejects.toBe(stopped);
    expect(klaviyo.requests).toEqual([]);
  });
});
