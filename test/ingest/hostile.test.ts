import fc from 'fast-check';
import { expect, it } from 'vitest';
import { postedLanes } from '../../src/model/lane.js';
import { anEvent, aProfile, createFixture, toJson } from './fixture.js';

const lane = fc.constantFrom(...postedLanes);
const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }));

/** Objects with names that the relay reads and values that may be invalid. */
const nearlyValid = fc
  .dictionary(
    fc.constantFrom(
      ...['event_name', 'email', 'distinct_id', 'phone_number', 'event_time', 'insert_id'],
      ...['properties', 'value', 'order_id', 'total_amount', 'currency', 'location', 'first_name'],
      ...['__proto__', 'constructor', 'toString', 'events', 'profiles'],
    ),
    fc.oneof(fc.jsonValue({ maxDepth: 2 }), text, fc.constantFrom('a@b.co', '+12025550123', 1e300)),
  )
  .map((each) => JSON.stringify(each));

const body = fc.oneof(text, fc.json({ stringUnit: 'binary' }), nearlyValid);

it('accept returns accepted or invalid for any body and never throws', async () => {
  const { accept } = createFixture({ defaultCountry: 'US' });
  await fc.assert(
    fc.asyncProperty(lane, body, fc.boolean(), async (intoLane, each, strict) => {
      const results = [
        await accept.one(intoLane, each, {}),
        await accept.many(intoLane, each, { format: 'json', strict }),
        await accept.many(intoLane, `[${each}]`, { format: 'json', strict }),
        await accept.many(intoLane, each, { format: 'ndjson', strict }),
      ];
      for (const { kind } of results) expect(['accepted', 'invalid']).toContain(kind);
    }),
    { numRuns: 1000 },
  );
});

const harmless = fc
  .string({ unit: 'binary', maxLength: 20 })
  .filter((name) => !['__proto__', 'constructor', 'prototype'].includes(name));
const { properties } = fc.letrec<{ value: unknown; properties: Record<string, unknown> }>(
  (tie) => ({
    value: fc.oneof(
      { maxDepth: 7, depthSize: 'small' },
      fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.boolean(), fc.constant(null)),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((each) => (each === 0 ? 0 : each)),
      fc.array(tie('value')),
      tie('properties'),
    ),
    properties: fc.dictionary(harmless, tie('value'), { noNullPrototype: true }),
  }),
);

it('properties with any content reach the payload unchanged, and a null of a profile unsets', async () => {
  await fc.assert(
    fc.asyncProperty(properties, async (each) => {
      const { accept, drafts } = createFixture();
      await accept.one('events', JSON.stringify(anEvent({ properties: each })), {});
      await accept.one('profiles', JSON.stringify(aProfile({ properties: { ...each, a: 1 } })), {});
      const [event, profile] = drafts().map(({ payload }) => toJson(payload));
      expect(event).toHaveProperty('attributes.events.data.0.attributes.properties', each);
      const posted = Object.entries({ ...each, a: 1 });
      const isNull = ([, value]: readonly [string, unknown]): boolean => value === null;
      const kept = Object.fromEntries(posted.filter((member) => !isNull(member)));
      const unset = posted.filter(isNull).map(([name]) => name);
      expect(profile).toHaveProperty('attributes.properties', kept);
      if (unset.length > 0) expect(profile).toHaveProperty('meta.patch_properties.unset', unset);
    }),
    { numRuns: 500 },
  );
});

it.each([
  ['a property of one megabyte', `{"a":"${'x'.repeat(1_000_000)}"}`, '/properties/a'],
  ['10,000 levels of arrays', `{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`, '/properties/a'],
  ['the name __proto__', '{"a":{"__proto__":{"polluted":true}}}', '/properties/a/__proto__'],
  ['the name constructor', '{"constructor":{"prototype":{}}}', '/properties/constructor'],
  ['a number that overflows', '{"a":1e999}', '/properties/a'],
  ['half of a surrogate pair', '{"a":"\\ud800"}', '/properties/a'],
  ['a repeated name', '{"a":1,"a":1}', '/properties/a'],
])('an event with %s is rejected with a pointer to it', async (_name, given, pointer) => {
  const { accept, appended } = createFixture();
  const result = await accept.one(
    'events',
    `{"event_name":"A","email":"a@b.co","properties":${given}}`,
    {},
  );
  if (result.kind !== 'invalid') throw new Error(result.kind);
  expect(result.errors[0]?.pointer.startsWith(pointer)).toBe(true);
  expect(appended).toEqual([]);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});
