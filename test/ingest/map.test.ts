import { describe, expect, it } from 'vitest';
import { aProfile, anEvent, createFixture, receivedAt, toJson } from './fixture.js';

async function mapped(lane: 'events' | 'profiles', entry: object, idempotencyKey?: string) {
  const { accept, drafts } = createFixture({ defaultCountry: 'US' });
  const result = await accept.one(lane, JSON.stringify(entry), { idempotencyKey });
  expect(result).toMatchObject({ kind: 'accepted' });
  return toJson(drafts()[0]?.payload);
}

/** Klaviyo's JSON for `anEvent()` with changed parts. */
const klaviyoEvent = (changed: {
  profile?: object;
  properties?: object;
  name?: string;
  attributes?: object;
}) => ({
  type: 'event-bulk-create',
  attributes: {
    profile: {
      data: { type: 'profile', attributes: changed.profile ?? { email: 'ada@klaviyo-demo.com' } },
    },
    events: {
      data: [
        {
          type: 'event',
          attributes: {
            properties: changed.properties ?? {},
            time: new Date(receivedAt).toISOString(),
            unique_id: 'made-1',
            metric: {
              data: { type: 'metric', attributes: { name: changed.name ?? 'Placed Order' } },
            },
            ...changed.attributes,
          },
        },
      ],
    },
  },
});

describe('an event is mapped to Klaviyo’s JSON', () => {
  const ada = { email: 'ada@klaviyo-demo.com' };
  it.each<[string, object, Parameters<typeof klaviyoEvent>[0]]>([
    ['event_name', { event_name: 'Viewed Product' }, { name: 'Viewed Product' }],
    ['email', { email: ' Ada@Klaviyo-Demo.com ' }, { profile: { email: 'Ada@Klaviyo-Demo.com' } }],
    ['distinct_id', { distinct_id: 'c42' }, { profile: { ...ada, external_id: 'c42' } }],
    ['distinct_id as a number', { distinct_id: 42 }, { profile: { ...ada, external_id: '42' } }],
    ['anonymous_id', { anonymous_id: 'b-1' }, { profile: { ...ada, anonymous_id: 'b-1' } }],
    ['anonymous_id as a number', { anonymous_id: 7 }, { profile: { ...ada, anonymous_id: '7' } }],
    [
      'anonymous_id alone',
      { email: null, anonymous_id: 'Browser 7/ü' },
      { profile: { anonymous_id: 'Browser 7/ü' } },
    ],
    [
      'phone_number',
      { phone_number: '(202) 555-0123' },
      { profile: { ...ada, phone_number: '+12025550123' } },
    ],
    [
      'event_time, unchanged',
      { event_time: '2025-12-31T23:59:59.5+01:00' },
      { attributes: { time: '2025-12-31T23:59:59.5+01:00' } },
    ],
    ['insert_id', { insert_id: 'order-1' }, { attributes: { unique_id: 'order-1' } }],
    ['insert_id as a number', { insert_id: 1001 }, { attributes: { unique_id: '1001' } }],
    [
      'properties',
      { properties: { a: { b: [1, null, { c: '' }] }, $extra: true } },
      { properties: { a: { b: [1, null, { c: '' }] }, $extra: true } },
    ],
    ['value', { value: 9.5 }, { properties: { $value: 9.5 }, attributes: { value: 9.5 } }],
    ['value 0', { value: 0 }, { properties: { $value: 0 }, attributes: { value: 0 } }],
    ['order_id', { order_id: 'A-1' }, { properties: { order_id: 'A-1' } }],
    ['order_id as a number', { order_id: 17 }, { properties: { order_id: 17 } }],
    ['total_amount', { total_amount: 12.25 }, { properties: { total_amount: 12.25 } }],
    ['currency', { currency: 'eur' }, { properties: { currency: 'EUR' } }],
    [
      'currency beside value',
      { currency: 'EUR', value: 1 },
      {
        properties: { currency: 'EUR', $value: 1 },
        attributes: { value: 1, value_currency: 'EUR' },
      },
    ],
    [
      'null as an absent field',
      { distinct_id: null, anonymous_id: null, event_time: null, insert_id: null, value: null },
      {},
    ],
    [
      'null as further absent fields',
      { properties: null, order_id: null, total_amount: null, currency: null },
      { properties: {} },
    ],
  ])('with %s', async (_name, fields, expected) => {
    expect(await mapped('events', anEvent(fields))).toEqual(klaviyoEvent(expected));
  });

  it('with revenue fields rather than properties of the same names', async () => {
    const properties = { $value: 1, order_id: 'x', total_amount: 2, currency: 'x', kept: 3 };
    const revenue = { value: 9, order_id: 'A-1', total_amount: 10, currency: 'USD' };
    expect(await mapped('events', anEvent({ ...revenue, properties }))).toEqual(
      klaviyoEvent({
        properties: { $value: 9, order_id: 'A-1', total_amount: 10, currency: 'USD', kept: 3 },
        attributes: { value: 9, value_currency: 'USD' },
      }),
    );
  });

  it('without revenue if only the properties contain it', async () => {
    const properties = { $value: 1, currency: 'USD' };
    expect(await mapped('events', anEvent({ properties }))).toEqual(klaviyoEvent({ properties }));
  });

  it('with insert_id, else the Idempotency-Key, else a generated id as unique_id', async () => {
    const uniqueId = (unique_id: string) => klaviyoEvent({ attributes: { unique_id } });
    expect(await mapped('events', anEvent({ insert_id: 'a' }), 'b')).toEqual(uniqueId('a'));
    expect(await mapped('events', anEvent(), 'b')).toEqual(uniqueId('b'));
    expect(await mapped('events', anEvent())).toEqual(uniqueId('made-1'));
  });
});

describe('a profile is mapped to Klaviyo’s JSON', () => {
  const ada = { email: 'ada@klaviyo-demo.com' };
  it.each<[string, object, object]>([
    ['email', { email: 'Ada@klaviyo-demo.com ' }, { email: 'Ada@klaviyo-demo.com' }],
    ['distinct_id', { distinct_id: 'c42' }, { ...ada, external_id: 'c42' }],
    ['phone_number', { phone_number: '202-555-0123' }, { ...ada, phone_number: '+12025550123' }],
    ['first_name', { first_name: 'Ada' }, { ...ada, first_name: 'Ada' }],
    ['last_name', { last_name: 'Lovelace' }, { ...ada, last_name: 'Lovelace' }],
    ['organization', { organization: 'Engine' }, { ...ada, organization: 'Engine' }],
    ['locale', { locale: 'en-GB' }, { ...ada, locale: 'en-GB' }],
    ['title', { title: 'Countess' }, { ...ada, title: 'Countess' }],
    ['image', { image: 'https://img.test/a' }, { ...ada, image: 'https://img.test/a' }],
    [
      'location',
      { location: { city: 'London', latitude: 51.5, longitude: '-0.12' } },
      { ...ada, location: { city: 'London', latitude: 51.5, longitude: '-0.12' } },
    ],
    [
      'any other field',
      { plan: 'gold', tags: ['a', { b: null }], external_id: 'x' },
      {
        ...ada,
        properties: { plan: 'gold', tags: ['a', { b: null }], external_id: 'x' },
      },
    ],
    [
      'properties, merged under the other fields',
      { plan: 'gold', properties: { plan: 'old', age: 3 } },
      { ...ada, properties: { plan: 'gold', age: 3 } },
    ],
    [
      'null as an absent field',
      { properties: null, distinct_id: null, phone_number: null, anonymous_id: null },
      ada,
    ],
    ['an empty location', { location: {} }, ada],
  ])('with %s', async (_name, fields, attributes) => {
    expect(await mapped('profiles', aProfile(fields))).toEqual({ type: 'profile', attributes });
  });

  it('with any single identifier', async () => {
    expect(await mapped('profiles', { distinct_id: 'c42' })).toEqual({
      type: 'profile',
      attributes: { external_id: 'c42' },
    });
    expect(await mapped('profiles', { phone_number: '+12025550123' })).toEqual({
      type: 'profile',
      attributes: { phone_number: '+12025550123' },
    });
  });
});

it('integers beyond 2^53 reach Klaviyo with all their digits in any field', async () => {
  const { accept, drafts } = createFixture();
  const large = '12345678901234567890';
  const event = `{"event_name":"A","distinct_id":${large}1,"insert_id":${large}2,"order_id":${large}3,
    "value":${large}4,"total_amount":${large}5,"properties":{"a":[{"b":${large}6}],"n":1.5}}`;
  const profile = `{"distinct_id":"a","seen":${large}7,"properties":{"deep":{"er":${large}8}}}`;
  await accept.one('events', event, {});
  await accept.one('profiles', profile, {});
  const [first, second] = drafts().map(({ payload }) => new TextDecoder().decode(payload));
  expect(first).toContain(`"external_id":"${large}1"`);
  expect(first).toContain(`"unique_id":"${large}2"`);
  expect(first).toContain(
    `{"a":[{"b":${large}6}],"n":1.5,"$value":${large}4,"order_id":${large}3,"total_amount":${large}5}`,
  );
  expect(first).toContain(`"value":${large}4,`);
  expect(second).toContain(`{"deep":{"er":${large}8},"seen":${large}7}`);
});
