import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestSandbox, toBulkEvents, toEvent, toWrapper } from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox();
});
afterEach(() => at.sandbox.close());

const eventBase = '/data/attributes/events-bulk-create/data/0/attributes/events/data/0/attributes';
const profileBase = '/data/attributes/events-bulk-create/data/0/attributes/profile/data/attributes';
const send = (
  profile: JsonMap,
  event: JsonMap,
  revision = '2026-07-15',
): Promise<SandboxResponse> =>
  at.post('/api/event-bulk-create-jobs', toBulkEvents([toWrapper(profile, [event])]), { revision });

/** The issues of one event, as pointers below its attributes; empty if it is accepted. */
const findEventIssues = async (overrides: JsonMap, name?: unknown): Promise<string[]> => {
  const response = await send({ external_id: 'c1' }, toEvent(overrides, name));
  expect(response.status).toBe(response.errors.length === 0 ? 202 : 400);
  return response.errors.map(({ source }) => source.pointer?.replace(eventBase, '') ?? '');
};

const findProfileIssues = async (profile: JsonMap): Promise<string[]> => {
  const response = await send(profile, toEvent());
  expect(response.status).toBe(response.errors.length === 0 ? 202 : 400);
  return response.errors.map(({ source }) => source.pointer?.replace(profileBase, '') ?? '');
};

const nest = (levels: number): unknown => (levels === 0 ? 1 : { a: nest(levels - 1) });
const fill = (count: number): JsonMap =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, index]));

describe('the sandbox checks the properties of an event:', () => {
  it.each<[string, unknown, string[]]>([
    ['400 of them', fill(400), []],
    ['401 of them', fill(401), ['/properties']],
    ['10 levels', nest(10), []],
    ['11 levels', nest(11), ['/properties' + '/a'.repeat(10)]],
    ['11 levels of lists', { a: [[[[[[[[[[]]]]]]]]]] }, ['/properties/a' + '/0'.repeat(9)]],
    ['a string of 100,000 bytes', { a: 'x'.repeat(100_000) }, []],
    ['a string of one byte more', { a: ['é'.repeat(50_000) + 'x'] }, ['/properties/a/0']],
    ['a list of 4,000', { a: Array(4000).fill(1) }, []],
    ['a list of 4,001', { a: Array(4001).fill(1) }, ['/properties/a']],
    ['a list', [], ['/properties']],
    ['null', null, ['/properties']],
    ['nothing', undefined, ['/properties']],
  ])('%s', async (_name, properties, faults) => {
    expect(await findEventIssues({ properties })).toEqual(faults);
  });

  it('properties nested 10,000 deep get a 400 and do not crash the sandbox', async () => {
    const deep = '{"a":'.repeat(10_000) + '1' + '}'.repeat(10_000);
    const body = JSON.stringify(
      toBulkEvents([toWrapper({ external_id: 'c1' }, [toEvent({ properties: 'HERE' })])]),
    );
    const response = await at.post('/api/event-bulk-create-jobs', body.replace('"HERE"', deep));
    expect(response.status).toBe(400);
  });

  it('names of Object.prototype are ordinary property names', async () => {
    const body = JSON.stringify(
      toBulkEvents([toWrapper({ external_id: 'c1' }, [toEvent({ properties: 'HERE' })])]),
    );
    const hostile = '{"__proto__":{"x":1},"constructor":1,"toString":"a"}';
    const response = await at.post('/api/event-bulk-create-jobs', body.replace('"HERE"', hostile));
    expect(response.status).toBe(202);
    expect(JSON.stringify(at.sandbox.state().events[0]?.properties)).toBe(hostile);
  });
});

describe('the sandbox checks the other attributes of an event:', () => {
  it.each<[string, JsonMap, string[]]>([
    ['a unique_id of 255', { unique_id: 'x'.repeat(255) }, []],
    ['a unique_id of 256', { unique_id: 'x'.repeat(256) }, ['/unique_id']],
    ['an empty unique_id', { unique_id: '' }, ['/unique_id']],
    ['a numeric unique_id', { unique_id: 7 }, ['/unique_id']],
    ['nulls', { unique_id: null, value: null, value_currency: null, time: null }, []],
    ['a value in words', { value: '9.99' }, ['/value']],
    ['a currency in words', { value: 1, value_currency: 'dollars' }, ['/value_currency']],
    ['an unknown field', { valu: 1 }, ['/valu']],
    ['a metric without data', { metric: {} }, ['/metric/data']],
    ['no metric', { metric: undefined }, ['/metric']],
  ])('%s', async (_name, overrides, faults) => {
    expect(await findEventIssues(overrides)).toEqual(faults);
  });

  it.each<[unknown, string[]]>([
    ['x'.repeat(127), []],
    ['x'.repeat(128), ['/metric/data/attributes/name']],
    ['', ['/metric/data/attributes/name']],
    [1, ['/metric/data/attributes/name']],
  ])('the metric %j is invalid', async (name, faults) => {
    expect(await findEventIssues({}, name)).toEqual(faults);
  });

  it.each<[unknown, boolean]>([
    ['2024-05-11T00:00:00+00:00', true],
    ['2024-05-11T00:00:00.123456Z', true],
    ['1990-01-01T00:00:00Z', true],
    ['1989-12-31T23:59:59Z', false],
    ['2027-11-01T12:00:00Z', true],
    ['2027-11-01T12:00:01Z', false],
    ['2024-02-29T00:00:00Z', true],
    ['2023-02-29T00:00:00Z', false],
    ['2024-04-31T00:00:00Z', false],
    ['2024-05-11t00:00:00z', false],
    ['2024-05-11 00:00:00Z', false],
    ['2024-05-11T00:00:00', false],
    ['2024-05-11', false],
    ['2024-05-11T24:00:00Z', false],
    ['1715385600', false],
    [1_715_385_600, false],
    ['', false],
  ])('the time %j: %s', async (time, good) => {
    expect(await findEventIssues({ time })).toEqual(good ? [] : ['/time']);
  });
});

describe('the sandbox checks the profile within an event:', () => {
  it.each<[string, boolean]>([
    ['ada@klaviyo-demo.com', true],
    ["o'neil+tag@mail.klaviyo-demo.co.uk", true],
    ['ada@klaviyo-demo', false],
    ['ada.@klaviyo-demo.com', false],
    ['a..b@klaviyo-demo.com', false],
    ['.ada@klaviyo-demo.com', false],
    ['ada@-demo.com', false],
    ['ada@demo.c', false],
    ['ada klaviyo@demo.com', false],
    ['@klaviyo-demo.com', false],
    [`${'x'.repeat(65)}@klaviyo-demo.com`, false],
    [`ada@${'x.'.repeat(123)}com`, true],
    [`ada@${'x.'.repeat(124)}com`, false],
    ['', false],
  ])('the email address %s: %s', async (email, good) => {
    expect(await findProfileIssues({ email })).toEqual(good ? [] : ['/email']);
  });

  it.each<[unknown, boolean]>([
    ['+13105555555', true],
    ['+1234567', true],
    ['+123456', false],
    ['+1234567890123456', false],
    ['+03105555555', false],
    ['13105555555', false],
    ['+1 310 555 5555', false],
    [13105555555, false],
  ])('the phone number %j: %s', async (phone, good) => {
    expect(await findProfileIssues({ phone_number: phone })).toEqual(good ? [] : ['/phone_number']);
  });

  it.each<[string, JsonMap, string[]]>([
    ['an external_id of 255', { external_id: 'x'.repeat(255) }, []],
    ['an external_id of 256', { external_id: 'x'.repeat(256) }, ['/external_id']],
    ['a numeric external_id', { external_id: 7 }, ['/external_id']],
    ['no identifier', { first_name: 'Ada' }, ['']],
    ['identifiers of null', { email: null, external_id: null }, ['']],
    ['an anonymous_id alone', { anonymous_id: 'a' }, []],
    ['a number for a name', { external_id: 'c', first_name: 1 }, ['/first_name']],
    ['a place in words', { external_id: 'c', location: 'Boston' }, ['/location']],
    [
      'an unknown place field',
      { external_id: 'c', location: { planet: 'x' } },
      ['/location/planet'],
    ],
    ['a latitude in words', { external_id: 'c', location: { latitude: '42.3' } }, []],
    [
      'a latitude of nothing',
      { external_id: 'c', location: { latitude: {} } },
      ['/location/latitude'],
    ],
    ['a city of 5', { external_id: 'c', location: { city: 5 } }, ['/location/city']],
    ['properties in words', { external_id: 'c', properties: 'x' }, ['/properties']],
    [
      'properties too deep',
      { external_id: 'c', properties: nest(11) },
      ['/properties' + '/a'.repeat(10)],
    ],
    ['94 KB of it', { external_id: 'c', properties: { a: 'x'.repeat(94_000) } }, []],
    ['95 KB of it', { external_id: 'c', properties: { a: 'x'.repeat(95_000) } }, ['']],
    ['95 KB in a plain field', { external_id: 'c', title: 'x'.repeat(95_000) }, ['']],
  ])('%s', async (_name, profile, faults) => {
    expect(await findProfileIssues(profile)).toEqual(faults);
  });
});
