import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ImportedPayloads } from '../../src/model/destination.js';
import { toGroupedPayload } from '../../src/model/group.js';
import type { Lane } from '../../src/model/lane.js';
import type { KlaviyoClient } from '../../src/klaviyo/client.js';
import {
  aClient,
  respondJson,
  startKlaviyoServer,
  toPayload,
  type KlaviyoServer,
  type ReceivedRequest,
} from './klaviyo-server.js';

type Page = {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
};

let klaviyo: KlaviyoServer;
let client: KlaviyoClient;
/** Klaviyo's responses by path without the query; the test sets them. */
let jobPage: Page;
let errorPages: (cursor: string | null, seen: ReceivedRequest) => Page;
let permits: number;

const jobPath = '/api/profile-bulk-import-jobs/job-1';
const payloads = Array.from({ length: 250 }, (_, index) =>
  toPayload({ type: 'profile', attributes: { external_id: `p-${index}` } }),
);
let mergings: number;
const imported: ImportedPayloads = {
  count: payloads.length,
  payloads: () => {
    mergings++;
    return payloads;
  },
};

beforeEach(async () => {
  mergings = 0;
  jobPage = { status: 200, body: aJob({}) };
  errorPages = () => ({ status: 500 });
  permits = 0;
  klaviyo = await startKlaviyoServer((response, seen) => {
    const { pathname, searchParams } = new URL(seen.path, 'http://localhost');
    if (pathname === jobPath) result(response, jobPage);
    else if (pathname === `${jobPath}/import-errors`) {
      result(response, errorPages(searchParams.get('page[cursor]'), seen));
    } else result(response, { status: 404, body: {} });
  });
  ({ client } = aClient(klaviyo.url));
});
afterEach(async () => {
  await client.close();
  await klaviyo.close();
});

function result(response: ServerResponse, { body, ...page }: Page): void {
  if (body === undefined) response.writeHead(page.status, page.headers ?? {}).end('<html>');
  else respondJson(response, { ...page, body });
}

const jobType = 'profile-bulk-import-job';

function aJob(attributes: Record<string, unknown>, type = jobType) {
  const all = { status: 'complete', total_count: 250, completed_count: 250, failed_count: 0 };
  return { data: { type, id: 'job-1', attributes: { ...all, ...attributes } } };
}

/** A document with one error, as Klaviyo sends it. */
const refusal = (detail: string): object => ({
  errors: [{ id: 'e1', status: 400, code: 'invalid', title: 'Invalid input.', detail }],
});

const toErrors = (ids: readonly string[], next: string | null): Page => ({
  status: 200,
  body: {
    data: ids.map((id) => ({
      type: 'import-error',
      id: `e-${id}`,
      attributes: {
        code: 'invalid',
        title: 'Invalid input',
        detail: `${id} is suppressed`,
        source: { pointer: '/data' },
        original_payload: { type: 'profile', attributes: { external_id: id } },
      },
    })),
    links: { self: 'x', next, prev: null },
  },
});

const follow = (ref = 'job-1', lane: Lane = 'profiles') =>
  client.pollImportJob({ lane, ref }, imported, () => {
    permits++;
    return Promise.resolve();
  });

async function kindsAfterFollow(): Promise<Record<string, number>> {
  const { outcomes } = await follow();
  const counts: Record<string, number> = {};
  for (const { kind } of outcomes ?? []) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

describe('a poll of an import job', () => {
  it.each(['queued', 'processing', 'paused', 7, null])(
    'that is %s is still open',
    async (status) => {
      jobPage = { status: 200, body: aJob({ status, failed_count: 3 }) };
      expect(await follow()).toMatchObject({ outcomes: null, retryable: false });
      expect(klaviyo.requests).toHaveLength(1);
      // Merging thousands of profiles blocks the event loop, and a job may be polled many times.
      expect(mergings).toBe(0);
    },
  );

  it('of additions to a list finds the person of an import error in the stored payload', async () => {
    jobPage = { status: 200, body: aJob({ total_count: 2, completed_count: 1, failed_count: 1 }) };
    errorPages = () => toErrors(['c-2'], null);
    const payloads = ['c-1', 'c-2'].map((id) => {
      const element = JSON.stringify({ type: 'profile', attributes: { external_id: id } });
      return new TextEncoder().encode(toGroupedPayload('ListA', element, 0));
    });
    const additions = { count: 2, payloads: () => payloads };
    const { outcomes } = await client.pollImportJob(
      { lane: 'add_to_list', ref: 'job-1' },
      additions,
    );
    expect(outcomes?.map(({ kind }) => kind)).toEqual(['delivered', 'rejected']);
  });

  it('makes one request if the job ended without failures', async () => {
    expect(await kindsAfterFollow()).toEqual({ delivered: 250 });
    expect(klaviyo.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      `GET ${jobPath}`,
    ]);
    expect(permits).toBe(1);
    expect(mergings).toBe(0);
  });

  it("sends Klaviyo's headers and no content type", async () => {
    await follow();
    const [seen] = klaviyo.requests;
    expect(seen?.headers).toMatchObject({
      authorization: 'Klaviyo-API-Key pk_test_key_1',
      revision: '2024-10-15',
    });
    expect(seen?.headers['content-type']).toBeUndefined();
    expect(seen?.headers['content-length']).toBeUndefined();
  });

  it('has the counts of the job and the rate feedback', async () => {
    jobPage = {
      status: 200,
      body: aJob({}),
      headers: { 'ratelimit-limit': '10, 10;w=1', 'ratelimit-remaining': '4' },
    };
    expect(await follow()).toMatchObject({
      job: { id: 'job-1', status: 'complete', completed: 250, failed: 0 },
      feedback: { remaining: 4, remainingOf: 10 },
    });
  });

  it('keeps its path for any id', async () => {
    await follow('../../events?x=');
    expect(klaviyo.requests[0]?.path).toBe('/api/profile-bulk-import-jobs/..%2F..%2Fevents%3Fx%3D');
  });

  it('has the id of the job that the response is about', async () => {
    expect(await follow()).toMatchObject({ job: { id: 'job-1' }, reportedId: 'job-1' });
    jobPage = { status: 200, body: { data: { ...aJob({}).data, id: 'job-2' } } };
    expect(await follow()).toMatchObject({ job: { id: 'job-1' }, reportedId: 'job-2' });
  });

  it('rejects as its permit does, without a request', async () => {
    const stopped = new Error('stopped');
    await expect(
      client.pollImportJob({ lane: 'profiles', ref: 'job-1' }, imported, () =>
        Promise.reject(stopped),
      ),
    ).rejects.toBe(stopped);
    expect(klaviyo.requests).toEqual([]);
  });

  const aJobWithout = (member: 'id'): object => ({
    data: { ...aJob({}).data, [member]: undefined },
  });
  const complete = { status: 'complete', completed_count: 250, failed_count: 0 };
  const revised = refusal('No valid revisions found for method');

  it.each<[string, Page]>([
    ['429', { status: 429, body: {}, headers: { 'retry-after': '3' } }],
    ['503', { status: 503 }],
    ['a page', { status: 403 }],
    ['a 200 that is a page', { status: 200 }],
    ['a 200 without a job', { status: 200, body: { data: [] } }],
    ['a 200 of a proxy', { status: 200, body: { message: 'OK' } }],
    [
      'a 200 of somebody else with a status',
      { status: 200, body: { data: { attributes: complete } } },
    ],
    ['a 200 with errors', { status: 200, body: refusal('temporarily unavailable') }],
    ['a job without an id', { status: 200, body: aJobWithout('id') }],
    ['a job beside errors', { status: 200, body: { ...aJob({}), errors: [] } }],
    ['a resource of another type', { status: 200, body: aJob({}, 'profile') }],
    [
      'a job without its counts',
      { status: 200, body: { data: { type: jobType, attributes: complete } } },
    ],
    ['a 202 with a job', { status: 202, body: aJob({}) }],
    ['a 204', { status: 204, body: aJob({}) }],
    [
      'a 401, because a key can be replaced,',
      { status: 401, body: refusal('Incorrect credentials.') },
    ],
    ['a 400', { status: 400, body: refusal('Invalid input.') }],
    ['a 403 of a proxy', { status: 403, body: { message: 'Forbidden' } }],
    ['a 403 without a reason', { status: 403, body: { errors: [] } }],
    ['a 403 with errors of a proxy', { status: 403, body: { errors: ['blocked'] } }],
    ['a 404 of a proxy', { status: 404, body: { error: 'no route' } }],
    ['a 404 for its revision', { status: 404, body: revised }],
    ['a 410 for its revision', { status: 410, body: refusal('This revision is retired.') }],
  ])('that gets %s is retryable', async (_name, page) => {
    jobPage = page;
    expect(await follow()).toMatchObject({ outcomes: null, retryable: true });
  });

  it('has the Retry-After of a 429', async () => {
    jobPage = { status: 429, body: {}, headers: { 'retry-after': '3' } };
    expect((await follow()).feedback).toMatchObject({ retryAfterMs: 3000 });
  });

  it('is retryable if no response arrives', async () => {
    await klaviyo.close();
    expect(await follow()).toMatchObject({ outcomes: null, retryable: true, feedback: null });
    klaviyo = await startKlaviyoServer(() => undefined);
  });

  const unreadable = {
    job: { id: 'job-1', status: 'unreadable', completed: null, failed: null },
    retryable: false,
  };

  it('delivers the profiles if Klaviyo forbids to read the job', async () => {
    jobPage = { status: 403, body: refusal('You do not have permission.') };
    expect(await follow()).toMatchObject(unreadable);
    expect(await kindsAfterFollow()).toEqual({ delivered: 250 });
  });

  it.each([404, 410])(
    'makes all profiles retryable if Klaviyo answers %i because it does not have the job',
    async (status) => {
      jobPage = { status, body: refusal('A job with this id does not exist.') };
      const followed = await follow();
      expect(followed).toMatchObject(unreadable);
      expect(await kindsAfterFollow()).toEqual({ retryable: 250 });
      expect(followed.outcomes?.[0]).toMatchObject({ reason: { code: 'import_gone' } });
    },
  );

  it('makes all profiles retryable if the job is complete and processed nothing', async () => {
    jobPage = { status: 200, body: aJob({ completed_count: 0 }) };
    expect(await kindsAfterFollow()).toEqual({ retryable: 250 });
  });
});

describe('import errors', () => {
  const failed = payloads.map((_, index) => `p-${index}`).filter((_, index) => index % 2 === 0);

  beforeEach(() => {
    jobPage = { status: 200, body: aJob({ completed_count: 125, failed_count: 125 }) };
    errorPages = (cursor) =>
      cursor === null
        ? toErrors(
            failed.slice(0, 100),
            `${klaviyo.url}${jobPath}/import-errors?page%5Bcursor%5D=second`,
          )
        : toErrors(failed.slice(100), null);
  });

  it('are read page after page, each with a permit of its own', async () => {
    const { outcomes, job } = await follow();
    expect(permits).toBe(3);
    expect(klaviyo.requests.map(({ path }) => path)).toEqual([
      jobPath,
      `${jobPath}/import-errors?page%5Bsize%5D=100`,
      `${jobPath}/import-errors?page%5Bsize%5D=100&page%5Bcursor%5D=second`,
    ]);
    expect(outcomes?.map(({ kind }) => kind)).toEqual(
      payloads.map((_, index) => (index % 2 === 0 ? 'rejected' : 'delivered')),
    );
    expect(outcomes?.[4]).toMatchObject({ reason: { detail: 'p-4 is suppressed' } });
    expect(job).toMatchObject({ status: 'complete', failed: 125 });
  });

  it('are requested only from Klaviyo, wherever a link leads', async () => {
    const other = await startKlaviyoServer((response) =>
      result(response, { status: 200, body: {} }),
    );
    errorPages = (cursor) =>
      cursor === null
        ? toErrors(failed.slice(0, 100), `${other.url}/elsewhere?page[cursor]=second`)
        : toErrors(failed.slice(100), null);
    expect(await kindsAfterFollow()).toEqual({ rejected: 125, delivered: 125 });
    expect(other.requests).toEqual([]);
    await other.close();
  });

  it('are read no further when a cursor comes again', async () => {
    errorPages = () => toErrors(failed.slice(0, 100), '?page[cursor]=same');
    expect(await kindsAfterFollow()).toEqual({ rejected: 100, retryable: 150 });
    expect(klaviyo.requests).toHaveLength(3);
  });

  it('are read up to ten pages beyond those that one error per profile fills', async () => {
    let page = 0;
    errorPages = () => {
      page += 1;
      return toErrors([`p-${page}`], page === 13 ? null : `?page[cursor]=${page}`);
    };
    expect(await kindsAfterFollow()).toEqual({ rejected: 13, retryable: 237 });
  });

  it('are read up to a bound if there is always a new cursor', async () => {
    let page = 0;
    errorPages = () => toErrors(failed.slice(0, 1), `?page[cursor]=${++page}`);
    await follow();
    expect(page).toBeLessThanOrEqual(13);
  });

  it.each<[string, Page]>([
    ['a link that is none', { ...toErrors(failed, 'http://[') }],
    ['a link without a cursor', toErrors(failed, 'https://a.klaviyo.com/api/next')],
  ])('end at %s', async (_name, page) => {
    errorPages = () => page;
    expect(await kindsAfterFollow()).toEqual({ rejected: 125, delivered: 125 });
    expect(klaviyo.requests).toHaveLength(2);
  });

  it('are all read again at the next poll if they cannot be read now', async () => {
    const second = errorPages;
    errorPages = (cursor, seen) =>
      cursor === null
        ? second(cursor, seen)
        : { status: 429, body: {}, headers: { 'retry-after': '2' } };
    expect(await follow()).toMatchObject({
      job: { status: 'complete' },
      outcomes: null,
      retryable: true,
      feedback: { retryAfterMs: 2000 },
    });
  });

  it('make all profiles retryable if the key may not read them', async () => {
    errorPages = () => ({ status: 403, body: refusal('You do not have permission.') });
    const followed = await follow();
    expect(followed).toMatchObject({
      job: { status: 'unreadable', failed: 125 },
      retryable: false,
    });
    expect(await kindsAfterFollow()).toEqual({ retryable: 250 });
  });

  it.each<[string, Page]>([
    ['a page', { status: 200 }],
    ['a body of a proxy', { status: 200, body: { message: 'OK' } }],
    ['errors', { status: 200, body: refusal('temporarily unavailable') }],
    ['one resource', { status: 200, body: aJob({}) }],
    ['a list of something else', { status: 200, body: { data: [{ type: 'profile', id: 'p' }] } }],
    ['a list without resources', { status: 200, body: { data: ['p-0'] } }],
    ['a 403 of somebody else', { status: 403, body: { message: 'Forbidden' } }],
    ['a 204', { status: 204, body: { data: [] } }],
  ])('do not count as absent if the response is %s', async (_name, page) => {
    const first = errorPages;
    errorPages = (cursor, seen) => (cursor === null ? first(cursor, seen) : page);
    expect(await follow()).toMatchObject({ outcomes: null, retryable: true });
  });

  it('are read if the job has no completed count', async () => {
    jobPage = { status: 200, body: aJob({ completed_count: null, failed_count: 0 }) };
    expect(await kindsAfterFollow()).toEqual({ rejected: 125, delivered: 125 });
  });

  it('are read if the job has no failed count', async () => {
    jobPage = { status: 200, body: aJob({ failed_count: null }) };
    expect(await kindsAfterFollow()).toEqual({ rejected: 125, delivered: 125 });
  });

  it('are also read for a cancelled job', async () => {
    jobPage = {
      status: 200,
      body: aJob({ status: 'cancelled', completed_count: 0, failed_count: 125 }),
    };
    expect(await kindsAfterFollow()).toEqual({ rejected: 125, retryable: 125 });
  });
});

describe('a poll of a suppression job', () => {
  const suppressionType = 'profile-suppression-bulk-create-job';
  const path = `/api/${suppressionType}s/job-1`;
  let server: KlaviyoServer;
  let page: Page;

  beforeEach(async () => {
    await client.close();
    server = await startKlaviyoServer((response, { path: requested }) =>
      result(response, requested === path ? page : { status: 404, body: {} }),
    );
    ({ client } = aClient(server.url));
  });
  afterEach(() => server.close());

  const aSuppressionJob = (attributes: Record<string, unknown>): Page => ({
    status: 200,
    body: aJob({ failed_count: undefined, skipped_count: 0, ...attributes }, suppressionType),
  });
  const kinds = async (): Promise<readonly string[] | null> => {
    const { outcomes } = await follow('job-1', 'suppress');
    return outcomes === null ? null : [...new Set(outcomes.map(({ kind }) => kind))];
  };

  it.each(['queued', 'processing', 'paused'])('that is %s is still open', async (status) => {
    page = aSuppressionJob({ status });
    expect(await kinds()).toBeNull();
  });

  it.each([
    ['processed each address', {}],
    ['skipped some addresses', { completed_count: 100, skipped_count: 150 }],
    ['skipped all addresses', { completed_count: 0, skipped_count: 250 }],
    ['has no counts', { completed_count: null, skipped_count: null }],
  ])('delivers all if the job is complete and %s, in one request', async (_name, counts) => {
    page = aSuppressionJob(counts);
    expect(await kinds()).toEqual(['delivered']);
    expect(server.requests.map((request) => request.path)).toEqual([path]);
  });

  it('makes all retryable if Klaviyo cancelled the job', async () => {
    page = aSuppressionJob({ status: 'cancelled', completed_count: 100 });
    expect(await kinds()).toEqual(['retryable']);
    const { job, outcomes } = await follow('job-1', 'suppress');
    expect(job).toEqual({ id: 'job-1', status: 'cancelled', completed: 100, failed: null });
    expect(outcomes?.[0]).toMatchObject({ reason: { code: 'import_cancelled' } });
  });

  it('counts all as delivered if the key may not read the job', async () => {
    page = { status: 403, body: refusal('You do not have permission.') };
    expect(await kinds()).toEqual(['delivered']);
  });

  it('is retryable if the job is one of another kind', async () => {
    page = { status: 200, body: aJob({}) };
    expect(await follow('job-1', 'suppress')).toMatchObject({ outcomes: null, retryable: true });
  });
});
