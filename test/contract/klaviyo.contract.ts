import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import type { Lane } from '../../src/envelope.js';
import { toBody } from '../../src/klaviyo/request.js';
import { toOutcomes } from '../../src/klaviyo/response.js';
import { startSandbox, type RunningSandbox } from '../../src/klaviyo/sandbox/sandbox.js';
import { createFixture } from '../ingest/fixture.js';
import { loadOfficial, readReference, revisions } from './official.js';

const bulk = {
  events: 'POST /api/event-bulk-create-jobs',
  profiles: 'POST /api/profile-bulk-import-jobs',
} as const;

/** What the relay would send for what callers post. */
async function toSentBody(lane: Lane, posts: readonly object[]): Promise<unknown> {
  const { accept, drafts } = createFixture({ defaultCountry: 'US' });
  const answer = await accept.many(lane, JSON.stringify(posts), { format: 'json', strict: true });
  expect(answer).toMatchObject({ kind: 'taken', accepted: posts.length });
  return JSON.parse(
    toBody(
      lane,
      drafts().map(({ payload }) => payload),
    ).toString(),
  );
}

const events: readonly object[] = [
  { event_name: 'Viewed Product', distinct_id: 'c1' },
  { event_name: 'Active on Site', phone_number: '(415) 555-2671' },
  {
    event_name: 'Placed Order',
    email: 'sam@klaviyo-demo.com',
    distinct_id: 'c1',
    phone_number: '+14155552671',
    event_time: '2026-01-15T10:00:00+01:00',
    insert_id: 'order-1',
    value: 29.98,
    total_amount: 29.98,
    currency: 'usd',
    order_id: 1001,
    properties: { Items: ['Linen shirt', { nested: [1, 2.5, null, true] }], empty: {} },
  },
];
const profiles: readonly object[] = [
  { distinct_id: 'c1' },
  {
    email: 'sam@klaviyo-demo.com',
    phone_number: '+14155552671',
    first_name: 'Sam',
    last_name: 'Mason',
    organization: 'Klaviyo',
    locale: 'en-US',
    title: 'Engineer',
    image: 'https://klaviyo-demo.com/sam.png',
    location: {
      address1: '89 E 42nd St',
      address2: '1st floor',
      city: 'New York',
      country: 'United States',
      region: 'NY',
      zip: '10017',
      timezone: 'America/New_York',
      latitude: 40.7128,
      longitude: '-74.0060',
      ip: '127.0.0.1',
    },
    plan: 'pro',
    properties: { visits: 3 },
  },
];

describe.each(revisions)("Klaviyo's revision %s", (revision) => {
  const official = loadOfficial(revision);

  describe('the relay', () => {
    it.each([
      ['events', events],
      ['profiles', profiles],
    ] as const)('sends %s as the document wants them', async (lane, posts) => {
      const body = await toSentBody(lane, posts);
      expect(official.requestProblems(bulk[lane], body)).toEqual([]);
    });

    it('would be seen to send something else', () => {
      expect(official.requestProblems(bulk.events, { data: { type: 'event' } })).not.toEqual([]);
    });
  });

  describe('the sandbox', () => {
    let sandbox: RunningSandbox;
    let jobId = '';
    let profileId = '';
    const call = async (method: string, path: string, body?: unknown) => {
      const answer = await fetch(`${sandbox.url}${path}`, {
        method,
        headers: {
          authorization: 'Klaviyo-API-Key pk_contract',
          revision,
          'content-type': 'application/vnd.api+json',
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      return {
        status: answer.status,
        body: text === '' ? '' : (JSON.parse(text) as { data: { id: string } }),
      };
    };

    beforeAll(async () => {
      sandbox = await startSandbox({
        clock: systemClock,
        windows: 'off',
        importDelayMs: 0,
        faults: [
          {
            endpoint: 'bulk-profiles',
            poison: { when: { path: '/first_name', equals: 'Sam' }, at: 'job', detail: 'no' },
          },
        ],
      });
      await call('POST', '/api/event-bulk-create-jobs', await toSentBody('events', events));
      const job = await call(
        'POST',
        '/api/profile-bulk-import-jobs',
        await toSentBody('profiles', profiles),
      );
      const upserted = await call('POST', '/api/profile-import', {
        data: {
          type: 'profile',
          attributes: { email: 'sam@klaviyo-demo.com', properties: { a: 1 } },
        },
      });
      if (typeof job.body === 'object') jobId = job.body.data.id;
      if (typeof upserted.body === 'object') profileId = upserted.body.data.id;
    });
    afterAll(() => sandbox.close());

    it('takes what the relay sends, and answers as the document says', async () => {
      for (const [lane, posts] of [
        ['events', events],
        ['profiles', profiles],
      ] as const) {
        const body = await toSentBody(lane, posts);
        const answer = await call('POST', bulk[lane].slice('POST '.length), body);
        expect(answer.status).toBe(202);
        expect(official.answerProblems(bulk[lane], 202, answer.body)).toEqual([]);
      }
    });

    it.each([
      ['/api/profile-bulk-import-jobs', () => ''],
      ['/api/profile-bulk-import-jobs/{job_id}', () => jobId],
      ['/api/profile-bulk-import-jobs/{id}/import-errors', () => jobId],
      ['/api/profile-bulk-import-jobs/{id}/profiles', () => jobId],
      ['/api/profiles', () => ''],
      ['/api/profiles/{id}', () => profileId],
      ['/api/events', () => ''],
      ['/api/metrics', () => ''],
      ['/api/accounts', () => ''],
    ])('GET %s', async (path, id) => {
      const answer = await call('GET', path.replace(/\{\w+\}/, id()));
      expect(answer.status).toBe(200);
      expect(official.answerProblems(`GET ${path}`, 200, answer.body)).toEqual([]);
    });

    const examples = readReference('klaviyo-request-examples.json') as Record<string, unknown>;
    const operations = Object.keys(examples).filter((name) => name.startsWith('POST '));
    it.each(operations)('takes the official example of %s', async (operation) => {
      expect(official.requestProblems(operation, examples[operation])).toEqual([]);
      const answer = await call('POST', operation.slice('POST '.length), examples[operation]);
      expect([200, 201, 202]).toContain(answer.status);
      expect(official.answerProblems(operation, answer.status, answer.body)).toEqual([]);
    });
  });
});

describe("Klaviyo's recorded errors", () => {
  type Sample = {
    name: string;
    status?: number;
    headers?: Record<string, string>;
    body?: unknown;
    body_text?: string;
    body_detail_only?: string;
  };
  const { samples } = readReference('klaviyo-error-samples.json') as { samples: readonly Sample[] };
  const sorted: readonly [RegExp, string][] = [
    [/^429/, 'throttled'],
    [/HTML/, 'retryable'],
    [/^40[13]|^404 future|^410/, 'blocked'],
    [/item error|bulk: phone region|bulk profiles/, 'rejected'],
  ];

  it.each(samples.filter(({ status, name }) => (status ?? 404) >= 400 && name !== ''))(
    '$name',
    (sample) => {
      const detail = sample.body_detail_only;
      const body = sample.body ?? (detail === undefined ? undefined : { errors: [{ detail }] });
      const lane: Lane = sample.name.includes('bulk events') ? 'events' : 'profiles';
      const outcomes = toOutcomes({
        lane,
        count: 3,
        status: sample.status ?? 404,
        headers: { 'content-type': 'application/vnd.api+json', ...sample.headers },
        bodyText: sample.body_text ?? JSON.stringify(body),
        now: Date.UTC(2026, 10, 1),
      });
      expect(outcomes).toHaveLength(3);
      const expected = sorted.find(([pattern]) => pattern.test(sample.name))?.[1];
      const kinds = outcomes.map(({ kind }) => kind);
      if (expected === undefined)
        expect(kinds.every((kind) => kind === 'unblamed' || kind === 'blocked')).toBe(true);
      else expect(kinds).toContain(expected);
    },
  );
});
