import { afterEach, describe, expect, it } from 'vitest';
import { createKlaviyoClient } from '../../src/klaviyo/client.js';
import { systemClock } from '../../src/clock.js';
import type { FaultRule } from '../../src/sandbox/faults.js';
import { aRevision } from '../support/revisions.js';
import { isConserved, startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const jobsPath = '/api/profile-bulk-import-jobs';

/** One import job per profile, without other delays. */
async function startWithJobs(importDelayMs: number, faults: readonly FaultRule[] = []) {
  relay = await startRelay({
    env: {
      PROFILE_BATCH_MAX_COUNT: '1',
      DELIVERY_CONCURRENCY: '8',
      PROFILE_RATE_WINDOWS: '1000/1s',
    },
    sandbox: {
      importDelayMs,
      windows: { 'bulk-profiles': 'off', jobs: 'off' },
      faults: [
        ...faults,
        {
          endpoint: 'bulk-profiles',
          poison: { when: { path: 'title', equals: 'bad' }, at: 'job', detail: 'is suppressed' },
        },
      ],
    },
  });
}

async function postProfiles(count: number, isBad: (index: number) => boolean = () => false) {
  const profiles = Array.from({ length: count }, (_, index) => ({
    distinct_id: `c-${index}`,
    ...(isBad(index) && { title: 'bad' }),
  }));
  const response = await relay.post('/v1/profiles/batch', { profiles });
  expect(response).toMatchObject({ status: 202, body: { accepted: count } });
}

const polls = () => {
  const all = relay.sandbox
    .state()
    .requests.filter(({ method, path }) => method === 'GET' && path.startsWith(jobsPath));
  const lists = all.filter(({ path }) => path.startsWith(`${jobsPath}?`));
  return { lists, looks: all.filter(({ path }) => !path.startsWith(`${jobsPath}?`)) };
};

describe('import jobs, if many are open,', () => {
  it('are polled by pages of one list, and each is read when it has ended', async () => {
    await startWithJobs(60_000);
    await postProfiles(120);
    await relay.until('all jobs are open', () => relay.sandbox.state().imports.length === 120);
    await relay.until('some time passes', () => relay.clock.monotonic() > 30_000);
    expect(polls().looks.length).toBeLessThan(10);
    expect(polls().lists.length).toBeGreaterThan(5);
    expect(polls().lists.some(({ path }) => path.includes('cursor'))).toBe(true);
    expect(polls().lists.every(({ status }) => status === 200)).toBe(true);
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 120, deadLettered: 0 });
    expect(polls().lists.length + polls().looks.length).toBeLessThan(220);
    expect(relay.sandbox.state().counters.importOverlaps).toBe(0);
  });

  it('produce the dead letters and reasons of each job that fails', async () => {
    await startWithJobs(5000);
    await postProfiles(40, (index) => index % 10 === 0);
    await relay.untilSettled();
    const { profiles } = await relay.counts();
    expect(profiles).toMatchObject({ delivered: 36, deadLettered: 4 });
    expect(isConserved(profiles)).toBe(true);
    const { data } = (await relay.get('/v1/dead-letters?lane=profiles')).body as {
      data: { reason: { code: string; detail: string }; payload: object }[];
    };
    expect(data.map(({ reason }) => `${reason.code}: ${reason.detail}`)).toEqual(
      Array<string>(4).fill('import_failed: is suppressed'),
    );
    expect(
      data
        .map(
          ({ payload }) =>
            (payload as { attributes: { external_id: string } }).attributes.external_id,
        )
        .sort(),
    ).toEqual(['c-0', 'c-10', 'c-20', 'c-30']);
  });

  it('are found among the jobs of other integrations, or polled one by one', async () => {
    await startWithJobs(40_000);
    const other = createKlaviyoClient({
      ...{
        apiKey: () => 'pk_other',
        baseUrl: relay.sandbox.url,
        revision: aRevision('2026-07-15'),
      },
      ...{ timeoutMs: 10_000, connections: 8, proxy: null, clock: systemClock, version: 'test' },
    });
    const foreign = async (count: number): Promise<void> => {
      for (let job = 0; job < count; job++) {
        const profile = { type: 'profile', attributes: { external_id: `foreign-${job}` } };
        await other.send('profiles', [Buffer.from(JSON.stringify(profile))]);
      }
    };
    await postProfiles(20);
    await relay.until('all jobs are open', () => relay.sandbox.state().imports.length === 20);
    // Newer than the relay's jobs, so that they precede them in the list.
    await foreign(1500);
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 20, deadLettered: 0 });
    expect(polls().lists.length).toBeLessThan(40);
    expect(polls().looks.length).toBeLessThan(300);
    await other.close();
  });
});

describe('import jobs whose list a proxy answers', () => {
  it.each<[string, FaultRule]>([
    ['a 403', { endpoint: 'jobs', times: 1, status: 403, html: true }],
    ['a 400', { endpoint: 'jobs', times: 1, status: 400 }],
    ['a 500', { endpoint: 'jobs', times: 1, status: 500 }],
    ['a 429', { endpoint: 'jobs', times: 1, status: 429, retryAfter: 5 }],
    [
      'a list of nothing',
      { endpoint: 'jobs', times: 1, status: 200, body: { data: [], links: { self: 'x' } } },
    ],
    ['somebody', { endpoint: 'jobs', times: 1, status: 200, body: { status: 'complete' } }],
    ['nobody', { endpoint: 'jobs', times: 1, reset: 'before' }],
  ])('are polled one by one after %s, and none counts as ended', async (_name, fault) => {
    await startWithJobs(20_000, [fault]);
    await postProfiles(10);
    await relay.until('the list was asked for', () => polls().lists.length > 0);
    await relay.until('15 s pass', () => relay.clock.monotonic() > 15_000);
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 0, buffered: 10 });
    await relay.untilSettled();
    expect((await relay.counts()).profiles).toMatchObject({ delivered: 10, deadLettered: 0 });
    expect(relay.sandbox.state().counters.importDuplicates).toBe(0);
    expect(relay.sandbox.state().imports).toHaveLength(10);
  });
});
