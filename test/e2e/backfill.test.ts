import { afterEach, expect, it } from 'vitest';
import { backfillMember } from '../../src/model/backfill.js';
import { startRelay, type RelayOptions, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const dayMs = 86_400_000;

async function start(options: RelayOptions = {}): Promise<void> {
  relay = await startRelay(options);
}

/** An event that happened `ageMs` before now. With null, the event has no time. */
const anEvent = (insert_id: string, ageMs: number | null): object => ({
  event_name: 'Placed Order',
  distinct_id: 'customer-42',
  insert_id,
  ...(ageMs !== null && { event_time: new Date(relay.clock.now() - ageMs).toISOString() }),
});

async function post(path: string, entries: object | readonly object[]): Promise<void> {
  expect(await relay.post(path, entries)).toMatchObject({ status: 202 });
}

async function postLines(path: string, entries: readonly object[]): Promise<void> {
  const lines = entries.map((entry) => JSON.stringify(entry)).join('\n');
  const response = await relay.post(path, lines, { 'content-type': 'application/x-ndjson' });
  expect(response).toMatchObject({ status: 202, body: { accepted: entries.length } });
}

/** What Klaviyo recorded: whether each event triggers no flow, by its id. */
async function recorded(): Promise<Record<string, boolean>> {
  await relay.untilSettled();
  const { events } = relay.sandbox.state();
  return Object.fromEntries(events.map(({ uniqueId, backfill }) => [uniqueId, backfill]));
}

async function counted(): Promise<string | undefined> {
  const { body } = await relay.get('/metrics');
  return /^relay_ingest_backfilled_total (\d+)$/m.exec(String(body.text))?.[1];
}

async function deliveries(): Promise<Record<string, unknown>[]> {
  const { body } = await relay.get('/v1/deliveries');
  return (body.data as Record<string, unknown>[]).reverse();
}

it('each event of a batch that is older than a day on acceptance is backfilled and triggers no flow', async () => {
  await start();
  const events = [
    anEvent('bound', dayMs),
    anEvent('older', dayMs + 1),
    anEvent('no-time', null),
    anEvent('ahead', -dayMs),
    anEvent('years', 1000 * dayMs),
  ];
  await post('/v1/events/batch', events);
  const lines = [anEvent('line-new', 1000), anEvent('line-old', 2 * dayMs)];
  await postLines('/v1/events/batch', lines);
  await post('/v1/events', anEvent('single-new', dayMs));
  await post('/v1/events', anEvent('single-old', dayMs + 1));
  expect(await recorded()).toEqual({
    ...{ bound: false, older: true, 'no-time': false, ahead: false, years: true },
    ...{ 'line-new': false, 'line-old': true, 'single-new': false, 'single-old': true },
  });
  expect(await counted()).toBe('4');
});

it('the age of an event on acceptance decides about backfill, not its age when it is sent', async () => {
  await start();
  await relay.post('/v1/lanes/events/pause', {});
  await post('/v1/events', anEvent('waited', 0));
  await relay.clock.advance(2 * dayMs);
  await relay.post('/v1/lanes/events/resume', {});
  expect(await recorded()).toEqual({ waited: false });
});

it.each([
  ['30m', { recent: false, old: true, ancient: true }],
  ['3d', { recent: false, old: false, ancient: true }],
  ['off', { recent: false, old: false, ancient: false }],
])(
  'BACKFILL_AFTER=%s sets the age from which events are backfilled',
  async (BACKFILL_AFTER, expected) => {
    await start({ env: { BACKFILL_AFTER } });
    const ages = { recent: 1_800_000, old: 1_800_001, ancient: 5 * dayMs };
    await post(
      '/v1/events/batch',
      Object.entries(ages).map(([id, age]) => anEvent(id, age)),
    );
    expect(await recorded()).toEqual(expected);
  },
);

it.each(['1d', 'off'])(
  '?backfill of a request overrides the age of its events with BACKFILL_AFTER=%s',
  async (BACKFILL_AFTER) => {
    await start({ env: { BACKFILL_AFTER } });
    for (const backfill of [true, false]) {
      const path = `?backfill=${backfill}`;
      const events = (kind: string) => [
        anEvent(`${kind}-new-${backfill}`, null),
        anEvent(`${kind}-old-${backfill}`, 9 * dayMs),
      ];
      for (const event of events('one')) await post(`/v1/events${path}`, event);
      await post(`/v1/events/batch${path}`, { events: events('many') });
      await postLines(`/v1/events/batch${path}`, events('lines'));
    }
    const all = await recorded();
    expect(Object.keys(all)).toHaveLength(12);
    for (const [id, backfill] of Object.entries(all)) expect(id).toMatch(`-${backfill}`);
    expect(await counted()).toBe('6');
  },
);

it('a request whose ?backfill is neither true nor false is rejected', async () => {
  await start();
  for (const path of ['/v1/events', '/v1/events/batch'])
    expect(await relay.post(`${path}?backfill=maybe`, [anEvent('x', null)])).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/backfill', detail: 'must be true or false' }] },
    });
  expect(await recorded()).toEqual({});
});

it('a repeated event is a duplicate, whether it is backfilled or not, and counts once', async () => {
  await start();
  await post('/v1/events', anEvent('a', null));
  const response = await relay.post('/v1/events?backfill=true', anEvent('a', null));
  expect(response.body).toMatchObject({ status: 'duplicate' });
  await post('/v1/events/batch?backfill=true', [anEvent('a', null), anEvent('b', null)]);
  await post('/v1/events/batch?backfill=true', [anEvent('b', null)]);
  expect(await recorded()).toEqual({ a: false, b: true });
  expect(await counted()).toBe('1');
});

it('calls of a Segment SDK are backfilled by their age', async () => {
  await start();
  const call = { type: 'track', userId: 'u1', event: 'Signed Up' };
  const batch = [
    { ...call, messageId: 'old', timestamp: '2020-05-01T00:00:00Z' },
    { ...call, messageId: 'new' },
  ];
  expect(await relay.post('/v1/batch', { batch })).toMatchObject({ status: 200 });
  expect(Object.values(await recorded()).sort()).toEqual([false, true]);
  expect(await counted()).toBe('1');
});

it('only requests with backfilled events use a newer revision if an old one is configured', async () => {
  await start({ env: { KLAVIYO_REVISION: '2024-10-15' } });
  const fresh = { anonymous: anEvent('f1', null), other: anEvent('f2', 60_000) };
  await post('/v1/events/batch', Object.values(fresh));
  await relay.untilSettled();
  await post('/v1/events/batch', [anEvent('m1', null), anEvent('m2', 2 * dayMs)]);
  await relay.untilSettled();
  await post('/v1/profiles', { distinct_id: 'customer-42', first_name: 'Ada' });
  await relay.untilSettled();
  await post('/v1/events', anEvent('f3', null));
  expect(await recorded()).toEqual({ f1: false, f2: false, m1: false, m2: true, f3: false });
  const posts = relay.sandbox.state().requests.filter(({ method }) => method === 'POST');
  expect(posts.map(({ revision, status, count }) => [revision, status, count])).toEqual([
    ['2024-10-15', 202, 2],
    ['2026-07-15', 202, 2],
    ['2024-10-15', 202, 1],
    ['2024-10-15', 202, 1],
  ]);
  const { body } = await relay.get('/metrics');
  expect(String(body.text)).toContain('relay_klaviyo_revision{revision="2024-10-15"} 1');
});

it('the delivery log and the log contain the number of backfilled events of a request', async () => {
  await start();
  const mixed = [anEvent('a', 2 * dayMs), anEvent('b', null), anEvent('c', 3 * dayMs)];
  await post('/v1/events/batch', mixed);
  await relay.untilSettled();
  await post('/v1/events', anEvent('d', null));
  await relay.untilSettled();
  const [first, second] = await deliveries();
  expect(first).toMatchObject({ count: 3, delivered: 3, backfilled: 2 });
  expect(second).toMatchObject({ count: 1, delivered: 1, backfilled: 0 });
  const one = await relay.get(`/v1/deliveries/${String(first?.id)}`);
  expect(one.body).toMatchObject({ backfilled: 2 });
  const lines = relay.logged.filter((line) => line.includes('delivery delivered'));
  expect(lines.map((line) => (JSON.parse(line) as { backfilled?: number }).backfilled)).toEqual([
    2,
    undefined,
  ]);
});

it('a field named backfill of a posted event is only a property', async () => {
  await start({ env: { KLAVIYO_REVISION: '2024-10-15' } });
  const member = JSON.stringify(`x${backfillMember}}}]}}}`);
  const events = [
    { properties: { backfill: true, deep: { a: [{ b: { backfill: true } }] } } },
    { event_name: `e${backfillMember}}}]}}}` },
    { properties: { text: member }, value: 1, currency: 'USD' },
  ].map((fields, index) => ({ ...anEvent(`p${index}`, null), ...fields }));
  await post('/v1/events/batch', events);
  await relay.untilSettled();
  const properties = { a: [{ b: { c: 1, backfill: true } }] };
  await post('/v1/profiles', { distinct_id: 'customer-43', properties });
  expect(await recorded()).toEqual({ p0: false, p1: false, p2: false });
  expect(relay.sandbox.state().events[0]?.properties).toMatchObject({ backfill: true });
  expect(await counted()).toBe('0');
  for (const delivery of await deliveries()) expect(delivery).toMatchObject({ backfilled: 0 });
  for (const { revision } of relay.sandbox.state().requests) expect(revision).toBe('2024-10-15');
});

it('the bytes of backfilled events are counted when they are buffered and sent', async () => {
  await start();
  const bufferedBytes = async (): Promise<number> => {
    const { body } = await relay.get('/metrics');
    return Number(/^relay_buffer_bytes{lane="events"} (\d+)$/m.exec(String(body.text))?.[1]);
  };
  await relay.post('/v1/lanes/events/pause', {});
  await post('/v1/events?backfill=false', anEvent('a', 5 * dayMs));
  const plain = await bufferedBytes();
  await post('/v1/events', anEvent('b', 5 * dayMs));
  expect(await bufferedBytes()).toBe(2 * plain + backfillMember.length);
  await relay.post('/v1/lanes/events/resume', {});
  await relay.untilSettled();
  const [delivery] = await deliveries();
  expect(delivery).toMatchObject({ bytes: relay.sandbox.state().requests[0]?.bytes });
});

it('a dead letter that is redriven later keeps the backfill decision of its acceptance', async () => {
  await start();
  relay.sandbox.addFault({
    endpoint: 'bulk-events',
    poison: { when: { path: '/properties/is', equals: 'bad' }, pointer: 'none', detail: 'no' },
  });
  const bad = { properties: { is: 'bad' } };
  await post('/v1/events/batch', [
    { ...anEvent('fresh', null), ...bad },
    { ...anEvent('old', 2 * dayMs), ...bad },
    anEvent('good', null),
  ]);
  await relay.untilSettled();
  await relay.clock.advance(3 * dayMs);
  relay.sandbox.clearFaults();
  await relay.post('/v1/dead-letters/redrive', { filter: {} });
  expect(await recorded()).toEqual({ good: false, fresh: false, old: true });
});
