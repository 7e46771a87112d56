import { afterEach, beforeEach, expect, it } from 'vitest';
import { isConserved, startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
beforeEach(async () => {
  relay = await startRelay();
});
afterEach(() => relay.stop());

const visit = { event_name: 'Viewed Product', anonymous_id: 'browser-7' };

const recorded = () => {
  const { events, profiles } = relay.sandbox.state();
  const people = new Map(profiles.map(({ id, attributes }) => [id, attributes]));
  return events.map(({ uniqueId, profileId }) => [uniqueId, people.get(profileId)] as const);
};

it('an event with only an anonymous id reaches Klaviyo as an event of that visitor', async () => {
  expect(await relay.post('/v1/events', { ...visit, insert_id: 'one' })).toMatchObject({
    status: 202,
    body: { status: 'accepted' },
  });
  const batch = [
    { ...visit, insert_id: 'two' },
    { ...visit, anonymous_id: 8, insert_id: 'three' },
  ];
  expect(await relay.post('/v1/events/batch', batch)).toMatchObject({ body: { accepted: 2 } });
  const lines = [{ ...visit, anonymous_id: 'Browser-7', insert_id: 'four' }];
  const response = await relay.post(
    '/v1/events/batch',
    lines.map((line) => JSON.stringify(line)).join('\n'),
    { 'content-type': 'application/x-ndjson' },
  );
  expect(response).toMatchObject({ status: 202, body: { accepted: 1 } });
  await relay.untilSettled();
  expect(recorded()).toEqual([
    ['one', { anonymous_id: 'browser-7' }],
    ['two', { anonymous_id: 'browser-7' }],
    ['three', { anonymous_id: '8' }],
    ['four', { anonymous_id: 'Browser-7' }],
  ]);
});

it('an event with the anonymous id, name and insert_id of an earlier one is a duplicate, whatever its other identifiers are', async () => {
  const first = await relay.post('/v1/events', { ...visit, insert_id: 'one' });
  const repeats = [
    { ...visit, insert_id: 'one' },
    { ...visit, insert_id: 'one', email: 'ada@klaviyo-demo.com' },
  ];
  for (const repeat of repeats) {
    expect((await relay.post('/v1/events', repeat)).body).toEqual({
      id: first.body.id,
      status: 'duplicate',
    });
  }
  const others = [
    { ...visit, insert_id: 'one', anonymous_id: 'browser-8' },
    { ...visit, insert_id: 'one', event_name: 'Viewed Page' },
    { ...visit, insert_id: 'two' },
  ];
  expect((await relay.post('/v1/events/batch', others)).body).toMatchObject({
    accepted: 3,
    duplicates: 0,
  });
  await relay.untilSettled();
  expect(recorded()).toHaveLength(4);
});

it('a visitor who is identified later is one person at Klaviyo and keeps the earlier events', async () => {
  await relay.post('/v1/events', { ...visit, insert_id: 'before' });
  await relay.untilSettled();
  await relay.post('/v1/events', {
    ...visit,
    distinct_id: 'customer-42',
    email: 'ada@klaviyo-demo.com',
    insert_id: 'after',
  });
  await relay.post('/v1/profiles', { distinct_id: 'customer-42', first_name: 'Ada' });
  await relay.untilSettled();
  const person = {
    anonymous_id: 'browser-7',
    external_id: 'customer-42',
    email: 'ada@klaviyo-demo.com',
    first_name: 'Ada',
  };
  expect(recorded()).toEqual([
    ['before', person],
    ['after', person],
  ]);
});

it('an invalid phone number is dropped if an anonymous id identifies the visitor', async () => {
  const response = await relay.post('/v1/events', { ...visit, phone_number: '12' });
  expect(response).toMatchObject({
    status: 202,
    body: { warnings: [{ pointer: '/phone_number' }] },
  });
});

it('a visitor’s event that Klaviyo rejects becomes a dead letter that can be redriven', async () => {
  relay.sandbox.addFault({
    endpoint: 'bulk-events',
    poison: { when: { path: '/properties/is', equals: 'bad' }, pointer: 'none', detail: 'no' },
  });
  const events = ['good', 'bad', 'good'].map((is, index) => ({
    ...visit,
    insert_id: `e-${index}`,
    properties: { is },
  }));
  await relay.post('/v1/events/batch', events);
  await relay.untilSettled();
  expect(recorded().map(([id]) => id)).toEqual(['e-0', 'e-2']);
  const { body } = await relay.get('/v1/dead-letters');
  const [deadLetter, ...others] = body.data as { id: string; payload: unknown }[];
  expect(others).toEqual([]);
  expect(JSON.stringify(deadLetter?.payload)).toContain(
    '"attributes":{"anonymous_id":"browser-7"}',
  );
  expect((await relay.get(`/v1/receipts/${deadLetter!.id}`)).body).toMatchObject({
    state: 'dead_lettered',
  });
  relay.sandbox.clearFaults();
  await relay.post('/v1/dead-letters/redrive', { filter: { ids: [deadLetter!.id] } });
  await relay.untilSettled();
  expect(recorded().map(([id]) => id)).toEqual(['e-0', 'e-2', 'e-1']);
  expect(isConserved((await relay.counts()).events)).toBe(true);
});

it('a profile with an anonymous id is answered with 400, the field and the reason', async () => {
  const errors = [
    {
      pointer: '/anonymous_id',
      detail: 'Klaviyo takes it on events only; a profile needs email, distinct_id or phone_number',
    },
  ];
  for (const profile of [
    { anonymous_id: 'b' },
    { email: 'ada@klaviyo-demo.com', anonymous_id: 'b' },
  ]) {
    expect(await relay.post('/v1/profiles', profile)).toMatchObject({
      status: 400,
      body: { errors },
    });
    const batch = [{ email: 'bo@klaviyo-demo.com', anonymous_id: null }, profile];
    expect(await relay.post('/v1/profiles/batch', batch)).toMatchObject({
      status: 202,
      body: { accepted: 1, rejected: [{ index: 1, errors }] },
    });
  }
  await relay.untilSettled();
  expect(relay.sandbox.state().profiles.map(({ attributes }) => attributes)).toEqual([
    { email: 'bo@klaviyo-demo.com' },
  ]);
});
