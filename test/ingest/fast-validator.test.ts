import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createFastValidator } from '../../src/ingest/fast-validator.js';
import { eventSchema, profileSchema } from '../../src/ingest/schema.js';
import { ExactInteger } from '../../src/json/json.js';

const anything = fc.oneof(
  fc.constantFrom(null, '', ' ', 0, -1, 1.5, true, 'x'.repeat(300), ' ada@klaviyo-demo.com'),
  fc.constantFrom([], {}, { city: 7 }, { city: null }, { town: 'x' }, { latitude: 91 }),
  fc.constantFrom('ada@klaviyo-demo', 'EURO', '2026-02-30T00:00:00Z', new ExactInteger('1')),
  fc.string({ unit: 'grapheme' }),
);
const mostly = (...right: readonly unknown[]) =>
  fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...right) },
    { weight: 1, arbitrary: anything },
  );

const exact = new ExactInteger('12345678901234567890');
const place = { city: 'London', country: 'GB', latitude: 51.5, longitude: '-0.12', zip: null };
const person = {
  email: mostly('ada@klaviyo-demo.com', 'Ähre+1@bücher.example', null),
  distinct_id: mostly('customer-42', 42, exact),
  phone_number: mostly('+15005550006', 'none'),
  properties: mostly({ plan: 'gold', tags: [1, { deep: null }] }, {}),
};
const events = fc.record(
  {
    ...person,
    anonymous_id: mostly('browser-7', 7, exact, null),
    event_name: mostly('Placed Order', '  Viewed 🥾'),
    event_time: mostly('2026-01-31T09:30:00Z', '2026-01-31T09:30:00.123+01:00'),
    insert_id: mostly('order-1001', 7),
    value: mostly(129.9, exact, null),
    order_id: mostly('1001', 1001, exact),
    total_amount: mostly(139.9),
    currency: mostly('EUR', 'usd'),
  },
  { requiredKeys: ['event_name'], noNullPrototype: true },
);
const profiles = fc.record(
  {
    ...person,
    first_name: mostly('Ada'),
    locale: mostly('en-US'),
    image: mostly('https://shop.klaviyo-demo.com/ada.png'),
    location: mostly(place, {}, null),
    favourite_colour: mostly('red', 7),
    anonymous_id: mostly(null),
  },
  { requiredKeys: [], noNullPrototype: true },
);
const withStrangers = (entries: fc.Arbitrary<object>) =>
  fc.oneof(
    { weight: 9, arbitrary: entries },
    {
      weight: 1,
      arbitrary: fc
        .tuple(entries, fc.oneof(fc.string(), fc.constant('__proto__')))
        .map(([one, name]) => ({ ...one, [name]: 1 })),
    },
  );

describe('the fast validator of a schema', () => {
  it.each([
    ['events', eventSchema, events],
    ['profiles', profileSchema, profiles],
  ])('accepts exactly the %s that the schema accepts unchanged', (...row) => {
    const [, schema, entries] = row;
    const guard = createFastValidator(schema);
    const seen = { taken: 0, left: 0 };
    fc.assert(
      fc.property(withStrangers(entries), (entry) => {
        const parsed = schema.safeParse(entry);
        const isAsItWas = parsed.success && isDeepStrictEqual(parsed.data, entry);
        expect(guard(entry)).toBe(isAsItWas);
        seen[isAsItWas ? 'taken' : 'left']++;
      }),
      { numRuns: 3000 },
    );
    expect(seen.taken).toBeGreaterThan(300);
    expect(seen.left).toBeGreaterThan(300);
  });

  it.each([null, undefined, 'text', 7, [], [{ event_name: 'x' }], exact])(
    'does not accept %j as an event',
    (value) => {
      expect(createFastValidator(eventSchema)(value)).toBe(false);
    },
  );

  it('accepts nothing if it does not support the schema', () => {
    const right = [
      [z.number(), 1],
      [z.string().min(1), 'a'],
      [z.email(), 'ada@klaviyo-demo.com'],
      [z.string().transform(Number), '1'],
      [z.string().superRefine(() => undefined), 'a'],
      [z.object({ a: z.number() }), { a: 1 }],
      [z.strictObject({ a: z.string().default('b') }), {}],
    ] as const;
    for (const [schema, value] of right) {
      expect(schema.safeParse(value).success).toBe(true);
      expect(createFastValidator(schema)(value)).toBe(false);
    }
  });

  it('does not accept an object from which the schema drops fields', () => {
    const guard = createFastValidator(z.object({ a: z.string() }));
    expect(guard({ a: 'x' })).toBe(true);
    expect(guard({ a: 'x', b: 'y' })).toBe(false);
  });
});
