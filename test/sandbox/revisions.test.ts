import { afterEach, describe, expect, it } from 'vitest';
import type { FaultRule, SandboxOptions } from '../../src/sandbox/sandbox.js';
import {
  startTestSandbox,
  toBulkEvents,
  toBulkProfiles,
  toEvent,
  toProfileImport,
  toSingleEvent,
  toWrapper,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

/** Its clock stands at 2026-11-01T12:00:00Z. */
let at: SandboxUnderTest;
const start = async (options: Partial<SandboxOptions> = {}): Promise<void> => {
  at = await startTestSandbox(options);
};
afterEach(() => at.sandbox.close());

const optOut = { 'x-klaviyo-revision-fall-forward-opt-out': '1' };
const importedWith = (attributes: JsonMap, meta?: JsonMap) => toProfileImport(attributes, meta);
const known = { external_id: 'c1' };

const eventWith = (overrides: JsonMap) => toBulkEvents([toWrapper(known, [toEvent(overrides)])]);
const propertiesOf = (count: number): JsonMap =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, index]));
const twice = toBulkEvents([
  toWrapper(known, [toEvent({ unique_id: 'u' }), toEvent({ unique_id: 'u' })]),
]);

type Difference = {
  readonly what: string;
  readonly path: string;
  readonly body?: JsonMap;
  /** The last revision with the older response, and the first with the newer one. */
  readonly border: readonly [string, string];
  readonly statuses: readonly [number, number];
};

const bulkEvents = '/api/event-bulk-create-jobs';
const bulkProfiles = '/api/profile-bulk-import-jobs';
const differences: readonly Difference[] = [
  {
    what: 'an event of 301 properties',
    path: bulkEvents,
    body: eventWith({ properties: propertiesOf(301) }),
    border: ['2025-01-15', '2025-04-15'],
    statuses: [400, 202],
  },
  {
    what: 'a time in 1990',
    path: bulkEvents,
    body: eventWith({ time: '1990-01-01T00:00:00Z' }),
    border: ['2026-04-15', '2026-07-15'],
    statuses: [400, 202],
  },
  {
    what: 'a unique_id twice in one request',
    path: bulkEvents,
    body: twice,
    border: ['2024-10-15', '2025-01-15'],
    statuses: [202, 400],
  },
  {
    what: 'backfill on an event of a bulk request',
    path: bulkEvents,
    body: eventWith({ backfill: true }),
    border: ['2026-01-15', '2026-04-15'],
    statuses: [400, 202],
  },
  {
    what: 'backfill on a single event',
    path: '/api/events',
    body: toSingleEvent(known, { backfill: true }),
    border: ['2026-01-15', '2026-04-15'],
    statuses: [400, 202],
  },
  {
    what: 'anonymous_id in an import job',
    path: bulkProfiles,
    body: toBulkProfiles([{ ...known, anonymous_id: 'a' }]),
    border: ['2025-07-15', '2025-10-15'],
    statuses: [202, 400],
  },
  {
    what: 'anonymous_id at profile-import',
    path: '/api/profile-import',
    body: importedWith({ ...known, anonymous_id: 'a' }),
    border: ['2025-07-15', '2025-10-15'],
    statuses: [201, 400],
  },
  {
    what: 'patch_identifiers',
    path: '/api/profile-import',
    body: importedWith(known, { patch_identifiers: { append: {} } }),
    border: ['2026-01-15', '2026-04-15'],
    statuses: [400, 201],
  },
  {
    what: 'page[size] on a list of events',
    path: '/api/events?page[size]=5',
    border: ['2025-10-15', '2026-01-15'],
    statuses: [400, 200],
  },
];

describe('a revision', () => {
  it.each(differences)(
    'determines $what: $statuses at $border',
    async ({ path, body, border, statuses }) => {
      for (const [index, revision] of border.entries()) {
        await start();
        const response =
          body === undefined
            ? await at.get(path, { revision })
            : await at.post(path, body, { revision });
        expect([revision, response.status, response.text]).toEqual([
          revision,
          statuses[index],
          response.text,
        ]);
        await at.sandbox.close();
      }
    },
  );

  it('accepts anonymous_id on the profile of an event, whatever its date', async () => {
    await start();
    for (const revision of ['2024-10-15', '2026-07-15']) {
      const body = toBulkEvents([toWrapper({ anonymous_id: `a-${revision}` })]);
      expect((await at.post(bulkEvents, body, { revision })).status).toBe(202);
    }
  });

  it('records the first event of a repeated unique_id if the request does not fail, and counts the others', async () => {
    await start();
    await at.post(bulkEvents, twice, { revision: '2024-10-15' });
    expect(at.sandbox.state().counters).toMatchObject({
      recorded: 1,
      repeats: 1,
      repeatsInRequest: 1,
    });
  });

  it('for a date between two releases is the earlier release', async () => {
    await start();
    const body = eventWith({ backfill: true });
    expect((await at.post(bulkEvents, body, { revision: '2026-04-14' })).status).toBe(400);
    expect((await at.post(bulkEvents, body, { revision: '2026-04-16' })).status).toBe(202);
    expect(at.sandbox.state().requests).toMatchObject([
      { revision: '2026-04-14', servedRevision: '2026-01-15' },
      { revision: '2026-04-16', servedRevision: '2026-04-15' },
    ]);
  });

  it('allows single profile requests 750 a minute from 2026-01-15 on, and 700 before', async () => {
    await start({ windows: {} });
    const limitAt = async (revision: string): Promise<string | null> =>
      (await at.get('/api/profiles', { revision })).headers.get('ratelimit-limit');
    expect(await limitAt('2025-10-15')).toBe('75, 75;w=1, 700;w=60');
    expect(await limitAt('2026-01-15')).toBe('75, 75;w=1, 750;w=60');
  });
});

it('the page size of lists can be set from revision 2026-07-15 on', async () => {
  at = await startTestSandbox();
  const path = '/api/lists?page[size]=5';
  expect((await at.get(path, { revision: '2026-04-15' })).status).toBe(400);
  expect((await at.get(path, { revision: '2026-07-15' })).status).toBe(200);
});

describe('a backfilled event', () => {
  const send = (
    wrapper: boolean | undefined,
    events: readonly JsonMap[],
  ): Promise<SandboxResponse> => {
    const one = toWrapper(known, events);
    const attributes = { ...(one.attributes as JsonMap), backfill: wrapper };
    return at.post(bulkEvents, toBulkEvents([{ ...one, attributes }]), { revision: '2026-07-15' });
  };
  const recorded = (): unknown[] =>
    at.sandbox.state().events.map(({ uniqueId, backfill }) => [uniqueId, backfill]);

  it('is shown as backfilled if it or its wrapper sets backfill', async () => {
    await start();
    const events = [
      toEvent({ unique_id: 'said-yes', backfill: true }),
      toEvent({ unique_id: 'said-no', backfill: false }),
      toEvent({ unique_id: 'silent' }),
      toEvent({ unique_id: 'null', backfill: null }),
    ];
    expect((await send(true, events)).status).toBe(202);
    expect(recorded()).toEqual([
      ['said-yes', true],
      ['said-no', false],
      ['silent', true],
      ['null', true],
    ]);
    expect(at.sandbox.state().counters).toMatchObject({ recorded: 4, backfilled: 3 });
    const feed = await at.get('/sandbox/feed');
    expect(feed.body.data).toMatchObject([
      { backfill: true },
      { backfill: true },
      { backfill: false },
      { backfill: true },
    ]);
  });

  it('is distinguished from others in a mixed request and in single requests', async () => {
    await start();
    await send(undefined, [
      toEvent({ unique_id: 'old', backfill: true }),
      toEvent({ unique_id: 'new' }),
    ]);
    const single = toSingleEvent(known, { unique_id: 'single', backfill: true });
    await at.post('/api/events', single, { revision: '2026-07-15' });
    expect(recorded()).toEqual([
      ['old', true],
      ['new', false],
      ['single', true],
    ]);
  });

  it.each([1, 'true', {}])('is rejected for the backfill %j', async (backfill) => {
    await start();
    expect((await send(undefined, [toEvent({ backfill })])).status).toBe(400);
  });
});

describe('a retired revision', () => {
  const retire = (rule: NonNullable<FaultRule['retire']>, more: Partial<FaultRule> = {}) =>
    at.sandbox.addFault({ retire: rule, ...more });
  const account = (headers: Record<string, string> = {}): Promise<SandboxResponse> =>
    at.get('/api/accounts', headers);
  const expectGone = (response: SandboxResponse): void => {
    expect(response.status).toBe(410);
    expect(response.errors[0]).toMatchObject({ status: 410, code: 'gone', title: 'Gone.' });
    expect(response.errors[0]?.detail).toContain('2024-10-15');
  };

  it('falls forward to the next revision, which the response names', async () => {
    await start({ faults: [{ retire: { revision: '2024-10-15' } }] });
    const response = await account();
    expect([response.status, response.headers.get('revision')]).toEqual([200, '2025-01-15']);
    expect(at.sandbox.state().requests).toMatchObject([
      { revision: '2024-10-15', servedRevision: '2025-01-15' },
    ]);
    const later = await account({ revision: '2025-01-15' });
    expect([later.status, later.headers.get('revision')]).toEqual([200, null]);
  });

  it('gets a 410 if the request opts out of falling forward', async () => {
    await start({ faults: [{ retire: { revision: '2024-10-15' } }] });
    expectGone(await account(optOut));
    expect((await account({ ...optOut, revision: '2025-01-15' })).status).toBe(200);
    expect(at.sandbox.state().requests[0]).toMatchObject({ status: 410, servedRevision: null });
  });

  it('gets a 410 for every request under the rule gone, with the body of the rule', async () => {
    await start();
    retire({ revision: '2024-10-15', answer: 'gone' }, { times: 1 });
    expectGone(await account());
    const body = { message: 'This API has been retired and is no longer in service.' };
    retire({ revision: '2024-10-15', answer: 'gone' }, { body });
    const response = await account();
    expect([response.status, response.body]).toEqual([410, body]);
  });

  it('can fall forward without naming the revision, whatever the request asks', async () => {
    await start();
    retire({ revision: '2024-10-15', heedsOptOut: false, named: false });
    const body = toSingleEvent(known, { backfill: true });
    expect((await at.post('/api/events', body, optOut)).status).toBe(400);
    at.sandbox.clearFaults();
    retire({ revision: '2026-01-15', heedsOptOut: false, named: false });
    const response = await at.post('/api/events', body, optOut);
    expect([response.status, response.headers.get('revision')]).toEqual([202, null]);
  });

  it('retires older ones too, and retired later ones are skipped', async () => {
    await start();
    retire({ revision: '2025-10-15' });
    retire({ revision: '2026-01-15' });
    for (const revision of ['2023-10-15', '2024-10-15', '2025-10-15', '2026-01-15']) {
      const response = await account({ revision });
      expect([response.status, response.headers.get('revision')]).toEqual([200, '2026-04-15']);
    }
  });

  it('gets a 410 if there is no later one', async () => {
    await start();
    retire({ revision: '2026-10-15' });
    expect((await account({ revision: '2026-10-15' })).status).toBe(410);
  });

  it('is retired after skip requests, times times, and at one endpoint alone', async () => {
    await start();
    retire({ revision: '2024-10-15', answer: 'gone' }, { endpoint: 'events', skip: 2, times: 1 });
    const event = async (): Promise<number> =>
      (await at.post('/api/events', toSingleEvent(known))).status;
    expect((await account()).status).toBe(200);
    expect([await event(), await event(), await event(), await event()]).toEqual([
      202, 202, 410, 202,
    ]);
  });

  it('is retired at run time by a fault rule', async () => {
    await start();
    expect((await account(optOut)).status).toBe(200);
    const added = await at.post('/sandbox/faults', { retire: { revision: '2024-10-15' } });
    expect(added.body.data).toMatchObject([
      { retire: { revision: '2024-10-15', answer: 'forward', heedsOptOut: true, named: true } },
    ]);
    expectGone(await account(optOut));
    await at.send('/sandbox/faults', { method: 'DELETE' });
    expect((await account(optOut)).status).toBe(200);
  });

  it('leaves other fault rules unchanged', async () => {
    await start({
      faults: [{ retire: { revision: '2024-10-15' } }, { endpoint: 'accounts', status: 503 }],
    });
    expect((await account()).status).toBe(503);
    expectGone(await account(optOut));
  });

  it('is not reported to a request with an invalid key', async () => {
    await start({ apiKeys: ['pk_known'], faults: [{ retire: { revision: '2024-10-15' } }] });
    expect((await account(optOut)).status).toBe(401);
  });

  it('is retired by age, two years after its release, if the option is set', async () => {
    await start({ retireByAge: true });
    expectGone(await account(optOut));
    expect((await account()).headers.get('revision')).toBe('2025-01-15');
    expect((await account({ ...optOut, revision: '2025-01-15' })).status).toBe(200);
    await at.clock.advance(0);
    at.clock.jump(Date.UTC(2027, 0, 15) - at.clock.now());
    expect((await account({ ...optOut, revision: '2025-01-15' })).status).toBe(410);
  });

  it.each([
    [{ revision: 'soon' }, {}, 'revision'],
    [{ revision: '2024-10-15', answer: 'never' }, {}, 'answer'],
    [{ revision: '2024-10-15' }, { status: 500 }, 'goes with no other effect'],
    [{ revision: '2024-10-15' }, { delayMs: 5 }, 'goes with no other effect'],
  ])('with the rule %j and %j is invalid: %s', async (rule, more, problem) => {
    await start();
    const response = await at.post('/sandbox/faults', { retire: rule, ...more });
    expect(response.status).toBe(400);
    expect(response.errors.map(({ detail }) => detail).join()).toContain(problem);
  });
});
