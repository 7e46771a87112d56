import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  goodHeaders,
  startTestSandbox,
  toBulkEvents,
  toEvent,
  toSingleEvent,
  toWrapper,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox();
});
afterEach(() => at.sandbox.close());

const bulk = (
  wrappers: readonly unknown[],
  headers?: Record<string, string>,
): Promise<SandboxResponse> =>
  at.post('/api/event-bulk-create-jobs', toBulkEvents(wrappers), headers);
const pointers = (response: SandboxResponse): (string | undefined)[] =>
  response.errors.map(({ source }) => source.pointer);
const details = (response: SandboxResponse): string[] =>
  response.errors.map(({ detail }) => detail);
const recorded = (): number => at.sandbox.state().counters.recorded;

describe('a bulk events request', () => {
  it('gets a 202 with an empty body, and its events are recorded as sent', async () => {
    const response = await bulk([
      toWrapper({ email: 'ada@klaviyo-demo.com' }, [
        toEvent({
          time: '2026-05-05T10:00:00.750+02:00',
          unique_id: 'u1',
          value: 9.99,
          value_currency: 'USD',
          properties: { deep: { list: [1, { a: null }] }, __proto: 1 },
        }),
        toEvent({ unique_id: 'u2' }, 'Viewed Product'),
      ]),
      toWrapper({ phone_number: '+13105555555' }),
    ]);
    expect(response.status).toBe(202);
    expect(response.text).toBe('');
    const { events, profiles, counters } = at.sandbox.state();
    expect(counters).toMatchObject({ recorded: 3, repeats: 0, silentlyDropped: 0 });
    expect(profiles).toHaveLength(2);
    expect(events[0]).toMatchObject({
      metric: 'Placed Order',
      who: 'ada@klaviyo-demo.com',
      profileId: profiles[0]?.id,
      uniqueId: 'u1',
      time: '2026-05-05T10:00:00.750+02:00',
      timestamp: Date.UTC(2026, 4, 5, 8) / 1000,
      value: 9.99,
      valueCurrency: 'USD',
      properties: { deep: { list: [1, { a: null }] }, __proto: 1 },
    });
    expect(events[1]).toMatchObject({ metric: 'Viewed Product', value: null });
  });

  it('gives events without a time the time of receipt', async () => {
    await bulk([toWrapper({ external_id: 'c1' }, [toEvent({ time: null })])]);
    expect(at.sandbox.state().events[0]).toMatchObject({
      time: '2026-11-01T12:00:00.000Z',
      timestamp: Date.UTC(2026, 10, 1, 12) / 1000,
    });
  });

  it('is rejected as a whole for one bad address, and every issue is reported', async () => {
    const response = await bulk([
      toWrapper({ email: 'ada@klaviyo-demo.com' }),
      toWrapper({ email: 'nobody' }),
      toWrapper({ phone_number: '555-1234', external_id: 'c1' }, [
        toEvent({}, ''),
        toEvent({ time: 1_700_000_000 }),
      ]),
    ]);
    expect(response.status).toBe(400);
    const base = '/data/attributes/events-bulk-create/data';
    expect(pointers(response)).toEqual([
      `${base}/1/attributes/profile/data/attributes/email`,
      `${base}/2/attributes/profile/data/attributes/phone_number`,
      `${base}/2/attributes/events/data/0/attributes/metric/data/attributes/name`,
      `${base}/2/attributes/events/data/1/attributes/time`,
    ]);
    expect(response.errors[0]).toMatchObject({
      status: 400,
      code: 'invalid',
      title: 'Invalid input.',
      detail: 'Invalid email address',
    });
    expect(details(response)[1]).toBe(
      'Invalid phone number format (Example of a valid format: +12345678901)',
    );
    expect(recorded()).toBe(0);
    expect(at.sandbox.state().profiles).toEqual([]);
  });

  it("is rejected for unknown fields with Klaviyo's text", async () => {
    const response = await bulk([
      toWrapper({ external_id: 'c1', plan: 'pro', 'a/b~c': 1 }, [toEvent({ order_id: 1 })]),
    ]);
    const base = '/data/attributes/events-bulk-create/data/0/attributes';
    expect(details(response)).toEqual([
      "'plan' is not a valid field for the resource 'profile'.",
      "'a/b~c' is not a valid field for the resource 'profile'.",
      "'order_id' is not a valid field for the resource 'event'.",
    ]);
    expect(pointers(response)).toEqual([
      `${base}/profile/data/attributes/plan`,
      `${base}/profile/data/attributes/a~1b~0c`,
      `${base}/events/data/0/attributes/order_id`,
    ]);
  });

  it('may hold 1,000 events over all its profiles', async () => {
    const many = (prefix: string, count: number): JsonMap[] =>
      Array.from({ length: count }, (_, index) => toEvent({ unique_id: `${prefix}${index}` }));
    const fits = [
      toWrapper({ external_id: 'a' }, many('a', 600)),
      toWrapper({ external_id: 'b' }, many('b', 400)),
    ];
    expect((await bulk(fits)).status).toBe(202);
    const response = await bulk([...fits, toWrapper({ external_id: 'c' })]);
    expect(response.status).toBe(400);
    expect(pointers(response)).toEqual(['/data/attributes/events-bulk-create/data']);
    expect(recorded()).toBe(1000);
  });

  it('fails as a whole if a unique_id occurs twice for one profile and metric', async () => {
    const wrappers = [
      toWrapper({ email: 'ada@klaviyo-demo.com' }, [toEvent({ unique_id: 'u' })]),
      toWrapper({ email: 'bo@klaviyo-demo.com' }, [toEvent({ unique_id: 'u' })]),
      toWrapper({ email: 'Ada@klaviyo-demo.com', external_id: 'c1' }, [
        toEvent({ unique_id: 'u' }),
      ]),
    ];
    const twice = await bulk(wrappers, { revision: '2025-01-15' });
    expect(twice.status).toBe(400);
    expect(pointers(twice)).toEqual([
      '/data/attributes/events-bulk-create/data/2/attributes/events/data/0/attributes/unique_id',
    ]);
    expect(recorded()).toBe(0);
    const fine = await bulk([
      toWrapper({ external_id: 'c1' }, [
        toEvent({ unique_id: 'u' }),
        toEvent({ unique_id: 'u' }, 'Other'),
      ]),
      toWrapper({ external_id: 'c2' }, [toEvent({ unique_id: 'u' })]),
    ]);
    expect(fine.status).toBe(202);
    expect(recorded()).toBe(3);
  });

  it('fails if two identifiers of one existing profile carry the same unique_id', async () => {
    await at.post('/api/profile-import', {
      data: { type: 'profile', attributes: { email: 'ada@klaviyo-demo.com', external_id: 'c1' } },
    });
    const wrappers = [
      toWrapper({ email: 'ada@klaviyo-demo.com' }, [toEvent({ unique_id: 'u' })]),
      toWrapper({ external_id: 'c1' }, [toEvent({ unique_id: 'u' })]),
    ];
    const response = await bulk(wrappers, { revision: '2025-01-15' });
    expect(response.status).toBe(400);
  });

  it('sent twice gets a 202 both times and is recorded once', async () => {
    const wrappers = [toWrapper({ external_id: 'c1' }, [toEvent({ unique_id: 'u' })])];
    expect((await bulk(wrappers)).status).toBe(202);
    expect((await bulk(wrappers)).status).toBe(202);
    expect(at.sandbox.state().counters).toMatchObject({
      recorded: 1,
      repeats: 1,
      silentlyDropped: 0,
    });
  });

  it('without unique_id records one event a second', async () => {
    const one = (time: string, name?: string): JsonMap => toEvent({ time }, name);
    const response = await bulk([
      toWrapper({ external_id: 'c1' }, [
        one('2026-05-05T10:00:00Z'),
        one('2026-05-05T10:00:00.999Z'),
        one('2026-05-05T10:00:01Z'),
        one('2026-05-05T10:00:00Z', 'Other'),
      ]),
      toWrapper({ external_id: 'c2' }, [one('2026-05-05T10:00:00Z')]),
    ]);
    expect(response.status).toBe(202);
    expect(at.sandbox.state().counters).toMatchObject({
      recorded: 4,
      repeats: 0,
      silentlyDropped: 1,
      droppedSameSecond: 1,
    });
  });

  it.each(['ada@example.com', 'ADA@TEST.COM'])(
    'for %s gets a 202 and is dropped',
    async (email) => {
      expect((await bulk([toWrapper({ email })])).status).toBe(202);
      const { counters, profiles } = at.sandbox.state();
      expect(counters).toMatchObject({ recorded: 0, silentlyDropped: 1, droppedTestAddress: 1 });
      expect(profiles).toEqual([]);
    },
  );

  it('accepts backfill from 2026-04-15 on', async () => {
    const wrapper = toWrapper({ external_id: 'c1' }, [toEvent({ backfill: true })]);
    const wrappers = [
      { ...wrapper, attributes: { ...(wrapper.attributes as JsonMap), backfill: true } },
    ];
    expect((await bulk(wrappers)).errors).toHaveLength(2);
    expect((await bulk(wrappers, { revision: '2026-07-15' })).status).toBe(202);
  });
});

describe('the frame of a bulk events request', () => {
  it.each([
    ['no JSON', '{"data":'],
    ['an array', '[]'],
    ['no data', '{}'],
    ['nothing', ''],
    ['bad UTF-8', new Uint8Array([0x22, 0xff, 0x22])],
  ])('that is %s gets the recorded text for a malformed payload', async (_name, body) => {
    const response = await at.send('/api/event-bulk-create-jobs', {
      method: 'POST',
      headers: goodHeaders,
      body,
    });
    expect(response.status).toBe(400);
    expect(response.errors[0]).toMatchObject({
      code: 'invalid',
      detail: 'The payload provided in the request is invalid.',
      source: { pointer: '/data' },
    });
  });

  it.each<[string, unknown, string]>([
    [
      'another type',
      { type: 'event', attributes: { 'events-bulk-create': { data: [1] } } },
      '/data/type',
    ],
    [
      'no list',
      { type: 'event-bulk-create-job', attributes: {} },
      '/data/attributes/events-bulk-create',
    ],
    ['an empty list', toBulkEvents([]).data, '/data/attributes/events-bulk-create/data'],
    ['an unknown field', { ...(toBulkEvents([1]).data as JsonMap), extra: 1 }, '/data/extra'],
    [
      'a number for a wrapper',
      toBulkEvents([1]).data,
      '/data/attributes/events-bulk-create/data/0',
    ],
    [
      'no events',
      toBulkEvents([toWrapper({ external_id: 'c' }, [])]).data,
      '/data/attributes/events-bulk-create/data/0/attributes/events/data',
    ],
  ])('with %s gets a pointer to the issue', async (_name, data, pointer) => {
    const response = await at.post('/api/event-bulk-create-jobs', { data });
    expect(response.status).toBe(400);
    expect(pointers(response)).toContain(pointer);
  });
});

describe('a request body', () => {
  const big = (bytes: number): string => {
    const frame = JSON.stringify(toBulkEvents([toWrapper({ external_id: 'c1' })]));
    return frame + ' '.repeat(bytes - frame.length);
  };

  it('may have 5,000,000 bytes after decompression, and one more gets a 413', async () => {
    expect((await at.post('/api/event-bulk-create-jobs', big(5_000_000))).status).toBe(202);
    const plain = await at.post('/api/event-bulk-create-jobs', big(5_000_001));
    expect(plain.status).toBe(413);
    expect(plain.errors[0]?.code).toBe('payload_too_large');
    const zipped = await at.send('/api/event-bulk-create-jobs', {
      method: 'POST',
      headers: { ...goodHeaders, 'content-encoding': 'gzip' },
      body: gzipSync(big(5_000_001)),
    });
    expect(zipped.status).toBe(413);
  });

  it('may be compressed', async () => {
    const response = await at.send('/api/event-bulk-create-jobs', {
      method: 'POST',
      headers: { ...goodHeaders, 'content-encoding': 'gzip' },
      body: gzipSync(big(2000)),
    });
    expect(response.status).toBe(202);
    expect(at.sandbox.state().requests[0]).toMatchObject({ bytes: 2000, count: 1, status: 202 });
  });

  it.each([
    [{ 'content-type': 'text/plain' }, 415],
    [{ 'content-encoding': 'zstd' }, 415],
    [{ 'content-encoding': 'gzip' }, 400],
    [{ 'content-type': 'application/json; charset=utf-8' }, 202],
  ])('with %j gets a %i', async (headers, status) => {
    const body = toBulkEvents([toWrapper({ external_id: 'c1' })]);
    expect((await at.post('/api/event-bulk-create-jobs', body, headers)).status).toBe(status);
  });
});

describe('a single event request', () => {
  it('gets a 202 with an empty body', async () => {
    const response = await at.post(
      '/api/events',
      toSingleEvent(
        { email: 'ada@klaviyo-demo.com', meta: { patch_properties: { append: { skus: 'a' } } } },
        { unique_id: 'u1', value: 5 },
      ),
    );
    expect(response.status).toBe(202);
    expect(response.text).toBe('');
    expect(at.sandbox.state().events).toMatchObject([{ uniqueId: 'u1', value: 5 }]);
    expect(at.sandbox.state().profiles[0]?.attributes).toMatchObject({
      properties: { skus: ['a'] },
    });
  });

  it('gets pointers below /data/attributes for its issues', async () => {
    const response = await at.post('/api/events', toSingleEvent({ email: 'x' }, { properties: 1 }));
    expect(response.status).toBe(400);
    expect(pointers(response).sort()).toEqual([
      '/data/attributes/profile/data/attributes/email',
      '/data/attributes/properties',
    ]);
  });

  it('that is not an object gets a 400', async () => {
    for (const body of ['null', '{}', '{"data":[]}', '{"data":{"type":"event"}}']) {
      expect((await at.post('/api/events', body)).status).toBe(400);
    }
  });
});

describe.each(['2024-10-15', '2026-07-15'])(
  'the sandbox accepts all attributes that Klaviyo documents at %s:',
  (revision) => {
    const location = {
      address1: '89 E 42nd St',
      address2: null,
      city: 'New York',
      region: 'NY',
      country: 'United States',
      zip: '10017',
      timezone: 'America/New_York',
      latitude: 40.7128,
      longitude: '-74.0060',
      ip: '127.0.0.1',
    };
    const rich = {
      email: 'ada@klaviyo-demo.com',
      phone_number: '+15005550006',
      external_id: 'cust_1',
      first_name: 'Ada',
      last_name: 'L',
      organization: 'Analytical',
      locale: 'en-US',
      title: 'Engineer',
      image: 'https://klaviyo-demo.com/a.png',
      location,
      properties: { pseudonym: 'Dr. Octopus' },
    };
    const meta = {
      patch_properties: { append: { skus: '92538' }, unappend: { a: 1 }, unset: ['b'] },
    };
    const event = {
      properties: { Brand: 'Kids Book' },
      time: '2024-05-11T00:00:00+00:00',
      value: 9.99,
      value_currency: 'USD',
      unique_id: 'bd29b5e8-076f-405c-b34c-591794e196e6',
      metric: { data: { type: 'metric', attributes: { name: 'Placed Order', service: 'api' } } },
    };
    const resource = { type: 'profile', attributes: rich, meta };

    it.each<[string, unknown, number]>([
      ['/api/events', toSingleEvent({ ...rich, meta }, event), 202],
      [
        '/api/event-bulk-create-jobs',
        toBulkEvents([
          {
            type: 'event-bulk-create',
            attributes: { profile: { data: resource }, events: { data: [toEvent(event)] } },
          },
        ]),
        202,
      ],
      ['/api/profile-import', { data: resource }, 201],
      [
        '/api/profile-bulk-import-jobs',
        {
          data: {
            type: 'profile-bulk-import-job',
            attributes: {
              profiles: {
                data: [resource, { type: 'profile', attributes: { external_id: 'c2' } }],
              },
            },
            relationships: { lists: { data: [{ type: 'list', id: 'Y6nRLr' }] } },
          },
        },
        202,
      ],
    ])('for %s', async (path, body, status) => {
      const response = await at.post(path, body, { revision });
      expect([response.status, details(response)]).toEqual([status, []]);
    });
  },
);
