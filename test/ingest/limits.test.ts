import { describe, expect, it } from 'vitest';
import type { Issue } from '../../src/model/outcome.js';
import { aProfile, anEvent, createFixture, receivedAt } from './fixture.js';

async function errorsOf(lane: 'events' | 'profiles', entry: object | string) {
  const { accept, drafts } = createFixture();
  const body = typeof entry === 'string' ? entry : JSON.stringify(entry);
  const result = await accept.one(lane, body, {});
  if (result.kind === 'accepted') return [];
  expect(drafts()).toEqual([]);
  return result.kind === 'invalid' ? result.errors : [];
}

const pointers = (errors: readonly Issue[]) => errors.map(({ pointer }) => pointer);
const days = 86_400_000;
const iso = (ms: number) => new Date(ms).toISOString();
const nested = (levels: number): object => (levels === 1 ? {} : { a: nested(levels - 1) });
const named = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, at]));
const emailOf = (chars: number) => {
  const labels = `${'d'.repeat(60)}.`.repeat(4);
  return `${'l'.repeat(chars - labels.length - 3)}@${labels}de`;
};

describe('an event is accepted at a limit and rejected beyond it with a pointer to the field:', () => {
  it.each<[string, string, object, object]>([
    ['event_name', '/event_name', { event_name: 'n'.repeat(127) }, { event_name: 'n'.repeat(128) }],
    ['empty event_name', '/event_name', { event_name: 'n' }, { event_name: '' }],
    ['blank event_name', '/event_name', { event_name: ' n' }, { event_name: ' ' }],
    [
      'distinct_id',
      '/distinct_id',
      { distinct_id: 'i'.repeat(255) },
      { distinct_id: 'i'.repeat(256) },
    ],
    ['empty distinct_id', '/distinct_id', { distinct_id: 'i' }, { distinct_id: '' }],
    [
      'anonymous_id',
      '/anonymous_id',
      { anonymous_id: 'a'.repeat(255) },
      { anonymous_id: 'a'.repeat(256) },
    ],
    ['empty anonymous_id', '/anonymous_id', { anonymous_id: 'a' }, { anonymous_id: '' }],
    ['insert_id', '/insert_id', { insert_id: 'i'.repeat(255) }, { insert_id: 'i'.repeat(256) }],
    ['empty insert_id', '/insert_id', { insert_id: 'i' }, { insert_id: '' }],
    ['fractional insert_id', '/insert_id', { insert_id: 1 }, { insert_id: 1.5 }],
    ['email', '/email', { email: emailOf(254) }, { email: emailOf(255) }],
    [
      'local part of email',
      '/email',
      { email: `${'l'.repeat(64)}@d.de` },
      { email: `${'l'.repeat(65)}@d.de` },
    ],
    [
      'label of email',
      '/email',
      { email: `l@${'d'.repeat(63)}.de` },
      { email: `l@${'d'.repeat(64)}.de` },
    ],
    [
      'earliest event_time',
      '/event_time',
      { event_time: '1990-01-01T00:00:00Z' },
      { event_time: '1989-12-31T23:59:59.999Z' },
    ],
    [
      'latest event_time',
      '/event_time',
      { event_time: iso(receivedAt + 365 * days) },
      { event_time: iso(receivedAt + 365 * days + 1) },
    ],
    [
      'existing day of event_time',
      '/event_time',
      { event_time: '2024-02-29T00:00:00Z' },
      { event_time: '2025-02-29T00:00:00Z' },
    ],
    [
      'levels of properties',
      `/properties${'/a'.repeat(10)}`,
      { properties: nested(10) },
      { properties: nested(11) },
    ],
    [
      'levels of arrays',
      `/properties/a${'/0'.repeat(9)}`,
      { properties: { a: [[[[[[[[[1]]]]]]]]] } },
      { properties: { a: [[[[[[[[[[1]]]]]]]]]] } },
    ],
    [
      'length of an array',
      '/properties/a',
      { properties: { a: new Array(4000).fill(0) } },
      { properties: { a: new Array(4001).fill(0) } },
    ],
    [
      'length of a string',
      '/properties/a/0',
      { properties: { a: ['x'.repeat(100_000)] } },
      { properties: { a: ['x'.repeat(100_001)] } },
    ],
    [
      'length of a string in bytes',
      '/properties/a',
      { properties: { a: 'ü'.repeat(50_000) } },
      { properties: { a: `${'ü'.repeat(50_000)}x` } },
    ],
    ['number of properties', '/properties', { properties: named(400) }, { properties: named(401) }],
    [
      'number of properties with those that fields add',
      '/properties',
      { properties: named(396), value: 1, order_id: 1, total_amount: 1, currency: 'USD' },
      { properties: named(397), value: 1, order_id: 1, total_amount: 1, currency: 'USD' },
    ],
    ['order_id', '/order_id', { order_id: 'o'.repeat(100_000) }, { order_id: 'o'.repeat(100_001) }],
    [
      'phone_number',
      '/phone_number',
      { phone_number: '1'.repeat(255) },
      { phone_number: '1'.repeat(256) },
    ],
  ])('%s', async (...[, pointer, at, beyond]) => {
    expect(await errorsOf('events', anEvent(at))).toEqual([]);
    expect(pointers(await errorsOf('events', anEvent(beyond)))).toEqual([pointer]);
  });

  it('a property that a field replaces counts once', async () => {
    const properties = { ...named(399), $value: 0 };
    expect(await errorsOf('events', anEvent({ properties, value: 1 }))).toEqual([]);
  });

  it('length of the whole event in bytes', async () => {
    const of = (bytes: number) => {
      const strings = new Array(Math.floor(bytes / 100_003)).fill('x'.repeat(100_000));
      return anEvent({ properties: { strings } });
    };
    expect(await errorsOf('events', of(4_850_000))).toEqual([]);
    expect(await errorsOf('events', of(4_950_000))).toEqual([
      { pointer: '', detail: 'is longer than 4900000 bytes' },
    ]);
  });
});

it('a profile is accepted up to 100,000 serialised bytes and rejected beyond', async () => {
  const { accept, drafts } = createFixture();
  await accept.one('profiles', JSON.stringify(aProfile({ note: '' })), {});
  const room = 100_000 - (drafts()[0]?.payload.length ?? 0);
  expect(await errorsOf('profiles', aProfile({ note: 'x'.repeat(room) }))).toEqual([]);
  expect(await errorsOf('profiles', aProfile({ note: 'x'.repeat(room + 1) }))).toEqual([
    { pointer: '', detail: 'is longer than 100000 bytes' },
  ]);
});

describe('an e-mail address', () => {
  it.each(['a@b.co', "o'hara+tag@sub.shop-1.museum", 'jürgen@straße.de', '1@2.xn--p1ai'])(
    '%s is accepted',
    async (email) => expect(await errorsOf('events', anEvent({ email }))).toEqual([]),
  );

  it.each([
    '',
    ' ',
    'a',
    'a@b',
    '@b.co',
    'a@',
    'a b@c.de',
    'a@b c.de',
    'a..b@c.de',
    '.a@c.de',
    'a.@c.de',
    'a@c..de',
    'a@.c.de',
    'a@c.de.',
    'a@-c.de',
    'a@c-.de',
    'a@b@c.de',
    'a\u0000@c.de',
    'a\n@c.de',
    'a@c.d',
    'a@127.0.0.1',
    '"a"@c.de',
    '<a@c.de>',
    'a,b@c.de',
  ])('%j is rejected', async (email) => {
    expect(await errorsOf('profiles', { email })).toEqual([
      { pointer: '/email', detail: 'must be an e-mail address' },
    ]);
  });
});

describe('an entry is rejected with a pointer to the invalid field', () => {
  const number = 'must be a number, not a string or anything else';
  const time =
    'must be ISO 8601 with date, time and offset, such as 2026-01-31T09:30:00Z; not unix time';
  const id = 'must be a string of 1 to 255 characters, or a whole number';
  it.each<[object, string, string]>([
    [{ event_name: null }, '/event_name', 'must be a string'],
    [{ event_name: undefined }, '/event_name', 'is required'],
    [{ email: 5 }, '/email', 'must be a string'],
    [{ distinct_id: {} }, '/distinct_id', id],
    [{ insert_id: true }, '/insert_id', id],
    [{ phone_number: 12025550123 }, '/phone_number', 'must be a string such as +15005550006'],
    [{ value: '9.5' }, '/value', number],
    [{ total_amount: '12' }, '/total_amount', number],
    [{ order_id: [] }, '/order_id', 'must be a string or a number'],
    [{ currency: 'ABC' }, '/currency', 'must be an ISO 4217 currency code such as USD'],
    [{ currency: 'US' }, '/currency', 'must be an ISO 4217 currency code such as USD'],
    [{ properties: [] }, '/properties', 'must be a JSON object'],
    [{ properties: 'x' }, '/properties', 'must be a JSON object'],
    [{ event_time: 1_768_478_400 }, '/event_time', time],
    [{ event_time: '2026-01-15' }, '/event_time', time],
    [{ event_time: '2026-01-15T10:00:00' }, '/event_time', time],
    [{ event_time: '2026-01-15t10:00:00z' }, '/event_time', time],
    [{ event_time: '2026-01-15 10:00:00Z' }, '/event_time', time],
    [{ event_time: '1768478400' }, '/event_time', time],
    [{ evnt_time: 'x' }, '/evnt_time', 'is not a field of an event'],
    [{ first_name: 'Ada' }, '/first_name', 'is not a field of an event'],
    [{ 'a/b~c': 1 }, '/a~1b~0c', 'is not a field of an event'],
  ])('for %j in an event', async (fields, pointer, detail) => {
    expect(await errorsOf('events', anEvent(fields))).toEqual([{ pointer, detail }]);
  });

  it.each<[object, string, string]>([
    [{ first_name: 5 }, '/first_name', 'must be a string'],
    [{ location: 'here' }, '/location', 'must be a JSON object'],
    [{ location: { planet: 'x' } }, '/location/planet', 'is not a field of location'],
    [{ location: { zip: 10017 } }, '/location/zip', 'must be a string'],
    [{ location: { latitude: 90.1 } }, '/location/latitude', 'must be a number between -90 and 90'],
    [{ location: { latitude: 'x' } }, '/location/latitude', 'must be a number between -90 and 90'],
    [
      { location: { longitude: '-180.5' } },
      '/location/longitude',
      'must be a number between -180 and 180',
    ],
    [{ properties: 1 }, '/properties', 'must be a JSON object'],
  ])('for %j in a profile', async (fields, pointer, detail) => {
    expect(await errorsOf('profiles', aProfile(fields))).toEqual([{ pointer, detail }]);
  });

  it('for all invalid fields at once', async () => {
    const errors = await errorsOf('events', { value: 'x', other: 1, event_time: 5 });
    expect(pointers(errors).sort()).toEqual(['/event_name', '/event_time', '/other', '/value']);
  });

  it('for a bounded number of fields, with shortened names', async () => {
    const long = 'n'.repeat(10_000);
    const errors = await errorsOf('events', anEvent({ [long]: 1, ...named(100) }));
    expect(errors).toHaveLength(21);
    expect(errors.at(-1)).toEqual({ pointer: '', detail: 'has 81 more faults like these' });
    expect(errors[0]?.pointer.length).toBeLessThan(200);
  });
});

it.each(['[]', '5', 'null', '"x"', '12345678901234567890'])(
  'the JSON value %s is rejected as an event and as a profile',
  async (body) => {
    expect(await errorsOf('events', body)).toEqual([
      { pointer: '', detail: 'must be a JSON object: one event' },
    ]);
    expect(await errorsOf('profiles', body)).toEqual([
      { pointer: '', detail: 'must be a JSON object: one profile' },
    ]);
  },
);

it('an event and a profile without an identifier are rejected', async () => {
  expect(await errorsOf('events', { event_name: 'A', anonymous_id: null })).toEqual([
    {
      pointer: '',
      detail: 'needs at least one of email, distinct_id, phone_number and anonymous_id',
    },
  ]);
  expect(await errorsOf('profiles', { email: null, plan: 'x' })).toEqual([
    { pointer: '', detail: 'needs at least one of email, distinct_id and phone_number' },
  ]);
});

it.each([
  { anonymous_id: 'b-1' },
  aProfile({ anonymous_id: 'b-1' }),
  aProfile({ anonymous_id: 7 }),
])('a profile with an anonymous id is rejected with the reason: %o', async (profile) => {
  const detail =
    'Klaviyo takes it on events only; a profile needs email, distinct_id or phone_number';
  expect(await errorsOf('profiles', profile)).toEqual([{ pointer: '/anonymous_id', detail }]);
});

it('no error text contains a posted value', async () => {
  const secret = 'ada-private';
  const results = [
    await errorsOf('events', anEvent({ email: secret, event_time: secret, currency: secret })),
    await errorsOf('events', anEvent({ value: secret, order_id: [secret], properties: secret })),
    await errorsOf('profiles', { phone_number: secret }),
    await errorsOf('profiles', aProfile({ location: { latitude: secret }, first_name: [secret] })),
    await errorsOf('events', `{"email":"${secret}`),
    await errorsOf('events', { event_name: 'A', anonymous_id: secret.repeat(30) }),
    await errorsOf('profiles', { anonymous_id: secret }),
  ];
  for (const errors of results) expect(errors).not.toEqual([]);
  expect(JSON.stringify(results)).not.toContain(secret);
});
