import { afterEach, describe, expect, it, vi } from 'vitest';
import { createToE164 } from '../../src/ingest/phone.js';
import { aProfile, anEvent, createFixture, toJson } from './fixture.js';

describe('a phone number', () => {
  it.each([
    ['+1 (202) 555-0123', undefined, undefined, '+12025550123'],
    ['+12025550123', undefined, 'DE', '+12025550123'],
    ['(202) 555-0123 ext. 5', undefined, 'US', '+12025550123'],
    ['030 123456', 'DE', 'US', '+4930123456'],
    ['030 123456', 'Germany', 'US', '+4930123456'],
    ['030 123456', ' germany ', undefined, '+4930123456'],
    ['020 7946 0958', 'uk', undefined, '+442079460958'],
    ['202 555 0123', 'United States', undefined, '+12025550123'],
    ['202 555 0123', 'USA', 'DE', '+12025550123'],
    ['0044 20 7946 0958', undefined, 'DE', '+442079460958'],
    ['202 555 0123', 'Atlantis', 'US', '+12025550123'],
    ['202 555 0123', null, 'US', '+12025550123'],
    ['202 555 0123', undefined, undefined, null],
    ['+1 555', undefined, 'US', null],
    ['+15551234567', undefined, 'US', null],
    ['call me at +12025550123', undefined, 'US', null],
    ['', undefined, 'US', null],
    ['1'.repeat(250), undefined, 'US', null],
  ])(
    '%s in the country %s with the default country %s is %s',
    (...[raw, place, fallback, expected]) => {
      expect(createToE164(fallback)(raw, place)).toBe(expected);
    },
  );

  it('has the same result the second time, separately for each country', () => {
    const toE164 = createToE164('US');
    for (let time = 0; time < 2; time++) {
      expect(toE164('030 123456', 'DE')).toBe('+4930123456');
      expect(toE164('030 123456')).toBeNull();
      expect(toE164('020 7946 0958', 'GB')).toBe('+442079460958');
    }
  });
});

describe('the cache of phone numbers', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('keeps at most the latest 10,000 numbers', () => {
    const caches = new Set<Map<unknown, unknown>>();
    const set = Reflect.get(Map.prototype, 'set');
    vi.spyOn(Map.prototype, 'set').mockImplementation(function (
      this: Map<unknown, unknown>,
      key,
      value,
    ) {
      if (typeof key === 'string' && key.includes('#7')) caches.add(this);
      return set.call(this, key, value);
    });
    const toE164 = createToE164('US');
    for (let number = 0; number < 10_100; number++) toE164(`#7${number}`, 'DE');
    const [cache] = caches;
    expect(caches.size).toBe(1);
    expect(cache?.size).toBe(10_000);
    expect([...cache!.keys()].at(0)).toBe('DE#7100');
    expect([...cache!.keys()].at(-1)).toBe('DE#710099');
  });
});

describe('a phone number that has no E.164 form', () => {
  const leftOut: unknown = expect.stringContaining('it was left out');
  const soleIdentifier: unknown = expect.stringContaining('the only identifier');

  it('is omitted from a profile, kept as a property, counted and reported', async () => {
    const { accept, drafts, counted } = createFixture();
    const body = JSON.stringify(aProfile({ phone_number: 'ask me', plan: 'gold' }));
    expect(await accept.one('profiles', body, {})).toMatchObject({
      kind: 'accepted',
      warnings: [{ pointer: '/phone_number', detail: leftOut }],
    });
    expect(toJson(drafts()[0]?.payload)).toEqual({
      type: 'profile',
      attributes: {
        email: 'ada@klaviyo-demo.com',
        properties: { phone_number_invalid: 'ask me', plan: 'gold' },
      },
    });
    expect(drafts()[0]?.keys).toHaveLength(1);
    expect(await counted('ingestWarnings')).toEqual([
      { lane: 'profiles', warning: 'phone_unusable', value: 1 },
    ]);
  });

  it('is kept in the properties of an event unless they contain that name', async () => {
    const { accept, drafts } = createFixture();
    const post = (fields: object) => accept.one('events', JSON.stringify(anEvent(fields)), {});
    await post({ phone_number: 'ask me', properties: { a: 1 } });
    await post({ phone_number: 'ask me', properties: { phone_number_invalid: 'mine' } });
    const properties = drafts().map(({ payload }) => {
      const text = new TextDecoder().decode(payload);
      return /"properties":(\{[^}]*\})/.exec(text)?.[1];
    });
    expect(properties).toEqual([
      '{"phone_number_invalid":"ask me","a":1}',
      '{"phone_number_invalid":"mine"}',
    ]);
  });

  it.each([
    ['events', { event_name: 'A', phone_number: 'ask me' }],
    ['profiles', { phone_number: 'ask me', plan: 'gold' }],
  ] as const)('makes an entry of %s invalid if it is the only identifier', async (lane, entry) => {
    const { accept, drafts, counted } = createFixture();
    expect(await accept.one(lane, JSON.stringify(entry), {})).toEqual({
      kind: 'invalid',
      errors: [{ pointer: '/phone_number', detail: soleIdentifier }],
    });
    expect(drafts()).toEqual([]);
    expect(await counted('ingestWarnings')).toEqual([]);
  });

  it('with the default country is parsed with the country of the profile', async () => {
    const { accept, drafts } = createFixture({ defaultCountry: 'US' });
    const profile = { phone_number: '030 123456', location: { country: 'Germany' } };
    await accept.one('profiles', JSON.stringify(profile), {});
    expect(toJson(drafts()[0]?.payload)).toMatchObject({
      attributes: { phone_number: '+4930123456' },
    });
  });
});
