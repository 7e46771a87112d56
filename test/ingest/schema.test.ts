import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { eventSchema, profileSchema } from '../../src/ingest/schema.js';

const compile = (schema: z.ZodType) =>
  new Ajv2020({ strict: false, formats: { 'date-time': true } }).compile(
    z.toJSONSchema(schema, { io: 'input' }),
  );

it('the JSON Schema of an event accepts the same events as the zod schema', () => {
  const isEvent = compile(eventSchema);
  const event = { event_name: 'A', email: 'a@b.co', order_id: 1, insert_id: 2, value: null };
  expect(isEvent({ ...event, properties: { a: [1] }, event_time: '2026-01-31T09:30:00Z' })).toBe(
    true,
  );
  for (const wrong of [{ other: 1 }, { value: '1' }, { properties: [] }, { email: 'x' }]) {
    expect(isEvent({ ...event, ...wrong })).toBe(false);
    expect(eventSchema.safeParse({ ...event, ...wrong }).success).toBe(false);
  }
  expect(isEvent({ event_name: 'A', anonymous_id: 'b-1' })).toBe(true);
  expect(isEvent({ event_name: 'A' })).toBe(false);
});

it('the JSON Schema of a profile accepts the same profiles as the zod schema', () => {
  const isProfile = compile(profileSchema);
  expect(isProfile({ distinct_id: 'a', plan: 'gold', location: { latitude: '1' } })).toBe(true);
  expect(isProfile({ distinct_id: 'a', location: { planet: 'x' } })).toBe(false);
  expect(isProfile({ plan: 'gold' })).toBe(false);
  for (const [anonymous_id, isValid] of [
    [null, true],
    ['b-1', false],
  ] as const) {
    expect(isProfile({ distinct_id: 'a', anonymous_id })).toBe(isValid);
    expect(profileSchema.safeParse({ distinct_id: 'a', anonymous_id }).success).toBe(isValid);
  }
  expect(isProfile({ anonymous_id: 'b-1' })).toBe(false);
});

it.each([
  ['event', eventSchema],
  ['profile', profileSchema],
])('the examples in the schema of a posted %s are valid', (_name, schema) => {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input' });
  const examples = Object.entries(properties).flatMap(([name, field]) => {
    const forms = typeof field === 'object' ? [field, ...(field.anyOf ?? [])] : [];
    const [example] = forms.flatMap((form) => form.examples ?? []);
    return example === undefined ? [] : [[name, example] as const];
  });
  expect(examples.length).toBeGreaterThan(5);
  expect(schema.safeParse(Object.fromEntries(examples)).error).toBeUndefined();
});
