import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson, stringifyJson } from '../../../src/json/json.js';
import { mapSegmentRequest, type SegmentRequest } from '../../../src/sources/segment/map.js';
import { z } from 'zod';
import { segmentSettings } from '../../../src/sources/segment/settings.js';
import { receivedAt } from '../../ingest/fixture.js';

type Options = Partial<Omit<SegmentRequest, 'value' | 'faults'>>;

const settings = z.object(segmentSettings).parse({});

/** The result of the map for a body. Fails if the body is rejected. */
function read(text: string, options: Options = {}) {
  const found = map(text, options);
  if (!found.ok) throw new Error(found.detail);
  return found;
}

function map(text: string, options: Options = {}) {
  const parsed = parseJson(text);
  if (!parsed.ok) throw new Error(parsed.issue.detail);
  const { value, issues: faults } = parsed;
  const steps = mapSegmentRequest({
    kind: 'batch',
    value,
    issues: faults,
    receivedAt,
    settings,
    ...options,
  });
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

const batchOf = (call: object, around: object = {}): string =>
  JSON.stringify({ batch: [call], ...around });

const one = (call: object, around?: object, options?: Options) =>
  read(batchOf(call, around), options);

/** The only entry of a call, in its posted form. */
function entryOf(call: object, around: object = {}): Record<string, unknown> {
  const [entry] = one(call, around).post.entries;
  return JSON.parse(stringifyJson(entry?.entry ?? null)) as Record<string, unknown>;
}

const aTrack = (fields: object = {}): object => ({
  type: 'track',
  event: 'Order Completed',
  userId: '42',
  messageId: 'm-1',
  timestamp: '2026-01-15T11:59:00.000Z',
  ...fields,
});

const anIdentify = (fields: object = {}): object => ({
  type: 'identify',
  userId: '42',
  messageId: 'm-1',
  ...fields,
});

describe('members beside a batch', () => {
  const around = (chars: number) => ({ context: { traits: { note: 'x'.repeat(chars) } } });
  const calls = (count: number) => Array.from({ length: count }, () => anIdentify());

  it('may add up to 50 MB in all calls', () => {
    const found = map(JSON.stringify({ batch: calls(400), ...around(100_000) }));
    expect(found).toMatchObject({ ok: true, post: { entries: { length: 400 } } });
  });

  it('are rejected above 50 MB in all calls', () => {
    const found = map(JSON.stringify({ batch: calls(40_000), ...around(10_000) }));
    expect(found).toEqual({
      ok: false,
      detail: 'holds too many calls for what stands beside the batch',
    });
  });
});

describe('a track call', () => {
  it('of @segment/analytics-node becomes an event', () => {
    const {
      post,
      invalidCalls: noCalls,
      messageIds,
    } = one(
      aTrack({
        properties: { orderId: 'o-1', revenue: 19.99, currency: 'usd', products: [{ sku: 'a' }] },
        context: { library: { name: '@segment/analytics-node', version: '3.1.0' } },
        integrations: {},
        _metadata: { nodeVersion: 'v20.19.0', jsRuntime: 'node' },
      }),
      { writeKey: 'write-key-1', sentAt: '2026-01-15T12:00:00.000Z' },
    );
    expect(post).toEqual({
      source: 'segment',
      entries: [
        {
          kind: 'track',
          id: 'm-1',
          lane: 'events',
          index: 0,
          personKeys: ['user:42'],
          entry: {
            event_name: 'Placed Order',
            distinct_id: '42',
            event_time: '2026-01-15T11:59:00.000Z',
            insert_id: 'o-1/Placed Order',
            properties: {
              orderId: 'o-1',
              revenue: 19.99,
              currency: 'usd',
              products: [{ sku: 'a' }],
              OrderId: 'o-1',
              ItemNames: [],
              Items: [{ SKU: 'a' }],
            },
            value: 19.99,
            currency: 'USD',
            order_id: 'o-1',
          },
        },
        {
          kind: 'track',
          id: 'm-1',
          lane: 'events',
          index: 0,
          personKeys: ['user:42'],
          entry: {
            event_name: 'Ordered Product',
            distinct_id: '42',
            event_time: '2026-01-15T11:59:00.000Z',
            insert_id: 'o-1/Ordered Product/a',
            properties: { OrderId: 'o-1', SKU: 'a' },
            order_id: 'o-1',
          },
        },
      ],
      people: [],
      skipped: [],
    });
    expect([noCalls, messageIds]).toEqual([[], ['m-1']]);
  });

  it('with only a name and a user becomes an event with these', () => {
    expect(entryOf({ type: 'track', event: 'Viewed', userId: '42' })).toEqual({
      event_name: 'Viewed',
      distinct_id: '42',
    });
  });

  it('drops fields of a wrong type', () => {
    const odd = { event: 7, messageId: {}, timestamp: [], properties: 'none', context: 1 };
    expect(entryOf(aTrack(odd))).toEqual({
      distinct_id: '42',
      properties: { timestamp_invalid: [] },
    });
    const nulls = { messageId: null, timestamp: null, properties: null, integrations: null };
    expect(entryOf(aTrack(nulls))).toEqual({
      event_name: 'Placed Order',
      distinct_id: '42',
    });
  });

  it('passes its properties on unchanged, also nested ones and integers beyond 2^53', () => {
    const properties = '{"a":{"b":[1,{"c":null}]},"id":820982911946154508,"revenue":[]}';
    const text = `{"batch":[{"type":"track","event":"e","userId":"1","properties":${properties}}]}`;
    expect(stringifyJson(read(text).post.entries[0]?.entry.properties)).toBe(properties);
  });

  it.each([
    ['a string', '"u-1"', 'u-1'],
    ['a number', '42', '42'],
    ['zero', '0', '0'],
    ['a number beyond 2^53', '820982911946154508', '820982911946154508'],
    ['true', 'true', 'true'],
  ])('has a scalar userId as text: %s', (_what, userId, expected) => {
    const text = `{"batch":[{"type":"track","event":"e","userId":${userId}}]}`;
    const [entry] = read(text).post.entries;
    expect(entry?.entry.distinct_id).toBe(expected);
    expect(entry?.personKeys).toEqual([`user:${expected}`]);
  });

  it.each(['null', '""', '" "', '{}', '["1"]'])('reads no userId from %s', (userId) => {
    const text = `{"batch":[{"type":"track","event":"e","userId":${userId},"anonymousId":"a"}]}`;
    const [entry] = read(text).post.entries;
    expect(entry).toMatchObject({ entry: { event_name: 'e' }, device: { id: 'a' } });
    expect(entry?.entry).not.toHaveProperty('distinct_id');
    expect(entry).not.toHaveProperty('personKeys');
  });

  it('looks up no user if SEGMENT_REMEMBER_USERS is false', () => {
    const [entry] = one(aTrack(), {}, { settings: { ...settings, SEGMENT_REMEMBER_USERS: false } })
      .post.entries;
    expect(entry).not.toHaveProperty('personKeys');
  });
});

describe('the value of an event', () => {
  it.each([
    ['a number', { revenue: 5 }, 5],
    ['text that is a number', { revenue: '19.99' }, 19.99],
    ['text with blanks', { revenue: ' 19.90 ' }, 19.9],
    ['a negative number', { revenue: '-5' }, -5],
    ['revenue before total and value', { value: 1, total: 2, revenue: 3 }, 3],
    ['total of a completed order without revenue', { value: 1, total: '2', revenue: ' ' }, 2],
    ['zero revenue rather than a total', { revenue: 0, total: 2 }, 0],
    ['no value property', { value: 1 }, undefined],
    [
      'absent if revenue is unreadable, whatever the total',
      { revenue: 'free', total: 4 },
      undefined,
    ],
    ['text with a sign of a currency', { revenue: '$12.00', currency: 'USD' }, 12],
    ['text with a code', { revenue: '12.00 USD' }, 12],
    ['text with separators', { revenue: '1,299.00', currency: 'USD' }, 1299],
    ['nothing that can be two amounts', { revenue: '1,299', currency: 'USD' }, undefined],
    [
      'absent in a currency other than the one beside it',
      { revenue: '€5', currency: 'USD' },
      undefined,
    ],
    ['revenue in another spelling', { Revenue: '5', Total: 6 }, 5],
    ['nothing that is no decimal', { revenue: '1e5', total: '0x10', value: '' }, undefined],
    ['nothing that overflows', { revenue: '9'.repeat(400) }, undefined],
    ['absent if it is not a number or text', { revenue: true, total: [5], value: {} }, undefined],
  ])('is %s', (_what, properties, value) => {
    expect(entryOf(aTrack({ properties })).value).toBe(value);
  });

  const worth = (event: string, properties: object, env: Record<string, string> = {}) => {
    const found = z.object(segmentSettings).parse(env);
    const call = aTrack({ event, properties });
    const [entry] = one(call, {}, { settings: found }).post.entries;
    return { value: entry?.entry.value, codes: entry?.warnings?.map(({ code }) => code) ?? [] };
  };

  it.each([
    ['Search Performed', { query: 'shoes', total: 245 }],
    ['Form Field Changed', { field: 'zip', value: '02134' }],
    ['Checkout Started', { value: 5, total: 6 }],
    ['Order Refunded', { total: 30 }],
    ['Order Updated', { total: 30 }],
  ])('is absent if %s has only a total or a value', (event, properties) => {
    expect(worth(event, properties)).toEqual({ value: undefined, codes: [] });
  });

  it.each([
    'Order Completed',
    'Completed Order',
    'order completed',
    'order_completed',
    'orderCompleted',
    ' Completed  Order ',
  ])('is the total of a completed order named "%s"', (event) => {
    expect(worth(event, { total: '15.50', currency: 'usd' })).toEqual({ value: 15.5, codes: [] });
  });

  it('is negative if the refund is negative', () => {
    expect(worth('Order Refunded', { revenue: '-50.00', currency: 'EUR' })).toEqual({
      value: -50,
      codes: [],
    });
  });

  it.each([
    [{ revenue: 'free', currency: 'USD' }, ['unreadable_amount']],
    [{ revenue: '1.299', total: 15, currency: 'USD' }, ['unreadable_amount']],
    [{ revenue: 12 }, ['no_currency']],
    [{ revenue: 12, currency: 'EURO' }, ['unreadable_currency']],
    [{ revenue: 12, currency: ' eur ' }, []],
    [{ revenue: '12 €' }, []],
  ])('of %j gives the warnings %j', (properties, codes) => {
    expect(worth('Order Completed', properties).codes).toEqual(codes);
  });

  it('is the property that SEGMENT_VALUE_PROPERTIES names for the event', () => {
    const env = { SEGMENT_VALUE_PROPERTIES: 'Trial Started=plan_price, lead won = value' };
    expect(worth('trial_started', { plan_price: '$9', currency: 'USD' }, env).value).toBe(9);
    expect(worth('Lead Won', { value: 5, revenue: 1, currency: 'USD' }, env).value).toBe(5);
    expect(worth('Lead Lost', { value: 5 }, env).value).toBeUndefined();
    const all = { SEGMENT_VALUE_PROPERTIES: '*=value' };
    expect(worth('Lead Lost', { value: 5, currency: 'USD' }, all).value).toBe(5);
    expect(z.object(segmentSettings).safeParse({ SEGMENT_VALUE_PROPERTIES: 'value' }).success).toBe(
      false,
    );
  });

  it('has a currency if it is valid', () => {
    const currencyOf = (currency: unknown) =>
      entryOf(aTrack({ properties: { currency } })).currency;
    expect(['eur', ' USD ', 'EURO', 5, null].map(currencyOf)).toEqual([
      ...['EUR', 'USD'],
      ...[undefined, undefined, undefined],
    ]);
  });

  it.each([
    [{ orderId: 'o-1', order_id: 'o-2' }, 'o-1'],
    [{ order_id: 'o-2' }, 'o-2'],
    [{ orderId: '', order_id: 1001 }, 1001],
    [{ orderId: {}, order_id: null }, undefined],
  ])('belongs to the order in %j', (properties, orderId) => {
    expect(entryOf(aTrack({ properties })).order_id).toBe(orderId);
  });
});

describe('the person of a call', () => {
  const ada = 'ada@klaviyo-demo.com';
  const grace = 'grace@klaviyo-demo.com';

  const identityOf = (call: object) => {
    const [entry] = one(call).post.entries;
    const { email, distinct_id, phone_number } = entry?.entry ?? {};
    return { ...entry, ids: { email, distinct_id, phone_number } };
  };

  it.each([
    ['context.traits', { context: { traits: { email: ada, phone: '+12025550123' } } }],
    ['traits', { traits: { email: ada, phone: '+12025550123' } }],
  ])('is identified by %s', (_where, fields) => {
    const { ids, repeatedPhone } = identityOf(aTrack(fields));
    expect(ids).toEqual({ email: ada, distinct_id: '42' });
    expect(repeatedPhone).toEqual({ number: '+12025550123' });
  });

  it('has the number of its traits, parsed with the country of their address', () => {
    const traits = { email: ada, phone: '202-555-0123', address: { country: 'US' } };
    expect(identityOf(aTrack({ context: { traits } })).repeatedPhone).toEqual({
      number: '202-555-0123',
      country: 'US',
    });
  });

  it('is identified by an e-mail address in the properties only if nothing else identifies it, and then by it alone', () => {
    const properties = { email: ' guest@klaviyo-demo.com ', phone: '+12025550123' };
    const { ids, lastResort, personKeys, repeatedPhone } = identityOf(aTrack({ properties }));
    expect(ids).toEqual({ distinct_id: '42' });
    expect([lastResort, personKeys]).toEqual(['guest@klaviyo-demo.com', ['user:42']]);
    expect(repeatedPhone).toBeUndefined();
    expect(identityOf(aTrack({ properties: { email: 'none' } }))).not.toHaveProperty('lastResort');
  });

  it.each(['ada@klaviyo-demo.com', ' Ada@Klaviyo-Demo.com '])(
    'is identified by a userId that is an e-mail address: "%s"',
    (userId) => {
      const { ids, fallback, personKeys } = identityOf(
        aTrack({ userId, properties: { email: grace } }),
      );
      expect(ids).toEqual({});
      expect(fallback).toEqual({ email: userId.trim() });
      expect(personKeys).toEqual([`user:${ada}`]);
      const same = identityOf(aTrack({ userId, context: { traits: { email: ada } } }));
      expect(same.ids).toEqual({ email: ada });
    },
  );

  it('keeps a userId that is an e-mail address as an id if the traits have another address', () => {
    const call = { userId: ada, context: { traits: { email: grace } } };
    expect(identityOf(aTrack(call)).ids).toEqual({ email: grace, distinct_id: ada });
    expect(identityOf(anIdentify({ userId: ada, traits: { email: grace } })).ids).toEqual({
      email: grace,
      distinct_id: ada,
    });
  });

  it('is identified by context.externalId of reverse ETL', () => {
    const context = {
      mappedToDestination: 'true',
      externalId: [{ id: ada, identifierType: 'email', type: 'KLAVIYO-profile' }],
    };
    const call = { type: 'identify', anonymousId: 'a', context, traits: { first_name: 'Ada' } };
    expect(entryOf(call)).toEqual({ email: ada, first_name: 'Ada' });
  });

  it('is read from one place, so that contacts of two places are never merged', () => {
    const context = { traits: { email: ada } };
    const traits = { email: grace, phone: '+12025550123' };
    const { ids, repeatedPhone } = identityOf(aTrack({ context, traits, properties: traits }));
    expect(ids).toEqual({ email: ada, distinct_id: '42' });
    expect(repeatedPhone).toBeUndefined();
  });

  it('needs no userId if there is an e-mail address', () => {
    const traits = { email: ada };
    const call = aTrack({ userId: undefined, anonymousId: 'a', context: { traits } });
    const [entry] = one(call).post.entries;
    expect(entry).toMatchObject({ entry: { email: ada }, device: { id: 'a' } });
    expect(entry?.entry).not.toHaveProperty('distinct_id');
    expect(entry).not.toHaveProperty('personKeys');
  });

  it('is a device if an event has only an anonymousId', () => {
    for (const type of ['track', 'page', 'screen']) {
      const { post } = one({ type, event: 'e', anonymousId: 'a', traits: { plan: 'gold' } });
      expect(post).toMatchObject({ entries: [{ device: { id: 'a' } }], people: [], skipped: [] });
    }
    const long = 'a'.repeat(256);
    const [entry] = one({ type: 'track', event: 'e', anonymousId: long }).post.entries;
    expect(entry?.device?.id).toMatch(/^[\w-]{43}$/);
  });

  it('is skipped if an identify call has only an anonymousId', () => {
    const { post } = one({ type: 'identify', anonymousId: 'a', traits: { plan: 'gold' } });
    expect(post).toMatchObject({ entries: [], people: [], skipped: [{ reason: 'anonymous' }] });
  });

  it('is left to validation if nothing identifies it', () => {
    expect(entryOf({ type: 'track', event: 'e' })).toEqual({ event_name: 'e' });
  });

  it('may have a phone number that is a JSON number', () => {
    const call = aTrack({ userId: null, context: { traits: { phone: 12025550123 } } });
    expect(entryOf(call).phone_number).toBe('12025550123');
  });
});

describe('the id of an event', () => {
  const idOf = (messageId: unknown) => entryOf(aTrack({ messageId })).insert_id;

  it.each([
    ['is absent if there is no messageId', undefined, undefined],
    ['may be a number', 7, '7'],
    ['may have 255 characters', 'm'.repeat(255), 'm'.repeat(255)],
  ])('%s', (_what, messageId, expected) => {
    expect(idOf(messageId)).toBe(expected);
  });

  it('is shortened if it is too long, and the same for a repeated call', () => {
    const long = 'm'.repeat(256);
    expect(idOf(long)).toMatch(/^[\w-]{43}$/);
    expect(idOf(long)).toBe(idOf(long));
    expect(idOf(`${long}n`)).not.toBe(idOf(long));
  });
});

describe('the time of an event', () => {
  const at = '2026-01-15T11:00:00.000Z';
  const timeOf = (fields: object, around: object = {}) =>
    entryOf(aTrack({ timestamp: undefined, ...fields }), around).event_time;

  it.each([
    ['UTC', '2026-01-15T11:00:00Z', at],
    ['an offset', '2026-01-15T12:00:00+01:00', at],
    ['an offset without a colon', '2026-01-15T06:00:00-0500', at],
    ['an offset of hours', '2026-01-15T12:00:00+01', at],
    ['microseconds', '2026-01-15T11:00:00.123456+00:00', '2026-01-15T11:00:00.123Z'],
    ['nanoseconds', '2026-01-15T11:00:00.123456789Z', '2026-01-15T11:00:00.123Z'],
    ['a space in place of the T', '2026-01-15 11:00:00', at],
    ['no seconds', '2026-01-15T11:00Z', at],
    ['a day', '2026-01-15', '2026-01-15T00:00:00.000Z'],
    ['lower case', '2026-01-15t11:00:00z', at],
    ['no time', 'yesterday', undefined],
    ['an invalid month and day', '2026-13-45T11:00:00Z', undefined],
    ['seconds since 1970', 1768474800, at],
    ['milliseconds since 1970', 1768474800000, at],
    ['milliseconds as text', '1768474800000', at],
    ['an offset after a space', '2026-01-15 11:00:00 +0000', at],
    ['UTC by name', '2026-01-15 11:00:00 UTC', at],
    ['RFC 1123', 'Thu, 15 Jan 2026 11:00:00 GMT', at],
    ['no separators', '20260115T110000Z', at],
  ])('is read from %s', (_what, timestamp, expected) => {
    expect(timeOf({ timestamp })).toBe(expected);
  });

  it('gives a warning and is kept as a property if it is unreadable', () => {
    const properties = { a: 1 };
    const [entry] = one(aTrack({ event: 'e', timestamp: 'yesterday', properties })).post.entries;
    expect(entry?.warnings).toMatchObject([{ code: 'unreadable_time', pointer: '/timestamp' }]);
    expect(entry?.entry.properties).toEqual({ timestamp_invalid: 'yesterday', a: 1 });
    expect(one(aTrack({ event: 'e', timestamp: ' ' })).post.entries[0]).not.toHaveProperty(
      'warnings',
    );
  });

  it('is the timestamp, else the originalTimestamp, else that of the batch', () => {
    const times = ['01', '02', '03'].map((day) => `2026-01-${day}T00:00:00.000Z`);
    const [timestamp, originalTimestamp, ofBatch] = times;
    const around = { timestamp: ofBatch };
    expect(timeOf({ timestamp, originalTimestamp }, around)).toBe(timestamp);
    expect(timeOf({ originalTimestamp }, around)).toBe(originalTimestamp);
    expect(timeOf({ timestamp: 'soon', originalTimestamp }, around)).toBe(originalTimestamp);
    expect(timeOf({}, around)).toBe(ofBatch);
    expect(timeOf({})).toBeUndefined();
  });

  const hoursFromNow = (hours: number): string =>
    new Date(receivedAt + hours * 3_600_000).toISOString();

  it.each([
    ['slow', -3, -4, -1],
    ['fast', 3, 2, -1],
    ['years behind', -300_000, -300_001, -1],
  ])('is corrected if the clock of the sender is %s', (_what, sent, happened, expected) => {
    const call = { timestamp: hoursFromNow(happened) };
    expect(timeOf(call, { sentAt: hoursFromNow(sent) })).toBe(hoursFromNow(expected));
    expect(timeOf({ ...call, sentAt: hoursFromNow(sent) })).toBe(hoursFromNow(expected));
  });

  it('is corrected by the sentAt of the call rather than that of the batch', () => {
    const call = { timestamp: hoursFromNow(-2), sentAt: hoursFromNow(-1) };
    expect(timeOf(call, { sentAt: hoursFromNow(-100) })).toBe(hoursFromNow(-1));
  });

  it('stays as it is if the difference may be the transfer alone', () => {
    const tenSeconds = 10 / 3600;
    const call = { timestamp: hoursFromNow(-2) };
    expect(timeOf(call, { sentAt: hoursFromNow(-tenSeconds) })).toBe(hoursFromNow(-2));
    expect(timeOf(call, { sentAt: hoursFromNow(tenSeconds) })).toBe(hoursFromNow(-2));
    expect(timeOf(call, { sentAt: hoursFromNow(-2 * tenSeconds) })).not.toBe(hoursFromNow(-2));
  });

  it('is never moved into the future', () => {
    // The call is dated after its sending, so its time is limited to now.
    expect(timeOf({ timestamp: hoursFromNow(-1) }, { sentAt: hoursFromNow(-2) })).toBe(
      hoursFromNow(0),
    );
    expect(timeOf({ timestamp: hoursFromNow(5) }, { sentAt: hoursFromNow(-2) })).toBe(
      hoursFromNow(5),
    );
  });

  it.each(['soon', 5, null])('stays as it is if sentAt is %j', (sentAt) => {
    expect(timeOf({ timestamp: at }, { sentAt })).toBe(at);
  });

  it('stays as it is if a gateway has corrected it', () => {
    const call = { timestamp: at, sentAt: hoursFromNow(-9), receivedAt: hoursFromNow(-1) };
    expect(timeOf(call)).toBe(at);
  });
});

describe('a page or screen call', () => {
  it.each([
    ['page', { name: 'Home' }, 'Viewed Home Page'],
    ['page', {}, 'Loaded a Page'],
    ['page', { name: '' }, 'Loaded a Page'],
    ['screen', { name: 'Cart' }, 'Viewed Cart Screen'],
    ['screen', { name: null }, 'Loaded a Screen'],
  ])('%s %j becomes the event "%s"', (type, fields, expected) => {
    const properties = { url: 'https://shop.example.com/' };
    expect(entryOf({ type, userId: '42', messageId: 'm-1', properties, ...fields })).toEqual({
      event_name: expected,
      distinct_id: '42',
      insert_id: 'm-1',
      properties,
    });
  });

  it('shortens a name that is too long and keeps the full name as a property', () => {
    const name = `Shoes ${'and boots '.repeat(20)}`;
    const [entry] = one({ type: 'page', userId: '42', name }).post.entries;
    expect(entry?.entry.event_name).toMatch(/^Viewed Shoes and boots .*… Page$/);
    expect(String(entry?.entry.event_name).length).toBeLessThanOrEqual(127);
    expect(entry?.entry.properties).toEqual({ event_name_full: `Viewed ${name} Page` });
    expect(entry?.warnings).toMatchObject([{ code: 'name_shortened', pointer: '/name' }]);
    const [track] = one(aTrack({ event: '😀'.repeat(100) })).post.entries;
    expect(track?.entry.event_name).toBe(`${'😀'.repeat(63)}…`);
    expect(track?.warnings).toMatchObject([{ code: 'name_shortened', pointer: '/event' }]);
  });

  it('is skipped if SEGMENT_PAGE_EVENTS is false', () => {
    const batch = [{ type: 'page', userId: '1' }, { type: 'screen', userId: '1' }, aTrack()];
    const { post } = read(JSON.stringify({ batch }), {
      settings: { ...settings, SEGMENT_PAGE_EVENTS: false },
    });
    expect(post.skipped).toMatchObject([{ reason: 'page_off' }, { reason: 'page_off' }]);
    expect(post.entries.map(({ index }) => index)).toEqual([2]);
  });
});

describe('an identify call', () => {
  const traits = {
    email: 'ada@klaviyo-demo.com',
    phone: '+12025550123',
    firstName: 'Ada',
    lastName: 'Lovelace',
    title: 'Countess',
    avatar: 'https://shop.example.com/ada.png',
    address: {
      street: '1 Main St',
      city: 'London',
      state: 'LDN',
      postalCode: 'W1',
      country: 'GB',
    },
    company: { name: 'Analytical Engines' },
    locale: 'en-GB',
    plan: 'gold',
    tags: ['a', { b: 1 }],
  };

  it('becomes a profile and keeps the person of the userId', () => {
    const { post } = one(anIdentify({ traits }));
    expect(post.entries).toEqual([
      {
        kind: 'identify',
        id: 'm-1',
        lane: 'profiles',
        index: 0,
        entry: {
          distinct_id: '42',
          email: 'ada@klaviyo-demo.com',
          phone_number: '+12025550123',
          first_name: 'Ada',
          last_name: 'Lovelace',
          title: 'Countess',
          image: 'https://shop.example.com/ada.png',
          organization: 'Analytical Engines',
          locale: 'en-GB',
          location: {
            address1: '1 Main St',
            city: 'London',
            region: 'LDN',
            zip: 'W1',
            country: 'GB',
          },
          properties: { plan: 'gold', tags: ['a', { b: 1 }] },
        },
      },
    ]);
    expect(post.people).toEqual([
      {
        kind: 'user',
        key: 'user:42',
        person: {
          distinct_id: '42',
          email: 'ada@klaviyo-demo.com',
          phone_number: '+12025550123',
        },
        country: 'GB',
      },
    ]);
  });

  it('of a browser also produces an event that merges the visitor with the person', () => {
    const { post } = one(anIdentify({ anonymousId: 'a', traits }));
    expect(post.entries).toMatchObject([
      { lane: 'profiles', device: { id: 'a' } },
      {
        lane: 'events',
        device: { id: 'a', isJoin: true },
        entry: {
          event_name: 'Identified',
          distinct_id: '42',
          email: 'ada@klaviyo-demo.com',
          insert_id: 'a/42/Identified',
        },
      },
    ]);
    expect(post.entries[0]?.entry).not.toHaveProperty('anonymous_id');
  });

  it.each([
    [
      { properties: { listId: 'XUepkK', consent: ['email'], plan: 'gold' } },
      { properties: { plan: 'gold' } },
      'listId="XUepkK", consent=["email"]',
    ],
    [{ subscribe: 'maybe', plan: 'gold' }, { plan: 'gold' }, 'subscribe="maybe"'],
    [{ subscribe: true, consent: ['fax'] }, undefined, 'subscribe=true, consent=["fax"]'],
    [
      { $consent: ['sms'], accepts_marketing: true },
      undefined,
      '$consent=["sms"], accepts_marketing=true',
    ],
  ])(
    'with traits about a consent that decide nothing is sent without them and with a warning: %j',
    (given, properties, requested) => {
      const [entry] = one(anIdentify({ traits: given })).post.entries;
      expect(entry?.entry.properties).toEqual(properties);
      expect(entry?.warnings).toEqual([
        {
          code: 'consent_not_sent',
          pointer: '/traits',
          detail: `the profile is sent without consent; asked for: ${requested}`,
        },
      ]);
    },
  );

  it('of a RudderStack SDK becomes the same profile, although it contains its traits twice', () => {
    expect(entryOf(anIdentify({ traits, context: { traits } }))).toEqual(
      entryOf(anIdentify({ traits })),
    );
  });

  it('prefers its own traits to those of its context', () => {
    const context = { traits: { email: 'old@klaviyo-demo.com', plan: 'silver', age: 36 } };
    const entry = entryOf(anIdentify({ context, traits: { email: traits.email, plan: 'gold' } }));
    expect(entry).toMatchObject({ email: traits.email, properties: { plan: 'gold', age: 36 } });
  });

  it.each([
    ['first_name, last_name', { first_name: 'A', last_name: 'L' }, ['A', 'L', undefined]],
    ['name', { name: ' Ada King  Lovelace ' }, ['Ada', 'King  Lovelace', undefined]],
    ['a single name', { name: 'Ada' }, ['Ada', undefined, undefined]],
    [
      'name beside first and last name',
      { name: 'Ada Lovelace', firstName: 'Augusta' },
      ['Augusta', undefined, { name: 'Ada Lovelace' }],
    ],
    ['no text', { name: 5, firstName: null }, [undefined, undefined, { name: 5, firstName: null }]],
  ])('reads names from %s', (_what, given, expected) => {
    const { first_name, last_name, properties } = entryOf(anIdentify({ traits: given }));
    expect([first_name, last_name, properties]).toEqual(expected);
  });

  it.each([
    ['a name', { company: 'Engines' }, 'Engines', undefined],
    ['an object', { company: { name: 'Engines', id: 7 } }, 'Engines', { company: { id: 7 } }],
    ['organization', { organization: 'Engines' }, 'Engines', undefined],
    ['no name', { company: { id: 7 } }, undefined, { company: { id: 7 } }],
    ['a list', { company: [1] }, undefined, { company: [1] }],
  ])('reads a company from %s', (_what, given, organization, properties) => {
    const entry = entryOf(anIdentify({ traits: given }));
    expect([entry.organization, entry.properties]).toEqual([organization, properties]);
  });

  it('keeps other traits as properties', () => {
    const given = {
      address: { street: 5, postalCode: 94103, floor: 2 },
      title: {},
      email: 5,
      phone: false,
    };
    expect(entryOf(anIdentify({ traits: given }))).toEqual({
      distinct_id: '42',
      location: { zip: '94103' },
      properties: { address: { street: 5, floor: 2 }, title: {}, email: 5, phone: false },
    });
    expect(entryOf(anIdentify({ traits: { address: '1 Main St' } })).properties).toEqual({
      address: '1 Main St',
    });
  });

  it('has the locale and the time zone of its context', () => {
    const context = { locale: 'de-DE', timezone: 'Europe/Berlin' };
    expect(entryOf(anIdentify({ context }))).toEqual({
      distinct_id: '42',
      locale: 'de-DE',
      location: { timezone: 'Europe/Berlin' },
    });
  });

  it.each([
    ['has no address and no number', anIdentify({ traits: { plan: 'gold' } })],
    ['has no userId', anIdentify({ userId: undefined, traits })],
    ['is disabled for Klaviyo', anIdentify({ traits, integrations: { Klaviyo: false } })],
  ])('is not kept if it %s', (_what, call) => {
    expect(one(call).post.people).toEqual([]);
  });

  it('is not kept if SEGMENT_REMEMBER_USERS is false', () => {
    expect(
      one(anIdentify({ traits }), {}, { settings: { ...settings, SEGMENT_REMEMBER_USERS: false } })
        .post.people,
    ).toEqual([]);
  });
});

describe('a call that is not meant for Klaviyo', () => {
  it.each(['group', 'alias', 'merge'])('is skipped: %s', (type) => {
    const { post } = one({ type, userId: '42', groupId: 'g', previousId: 'a' });
    expect(post).toMatchObject({ entries: [], people: [], skipped: [{ reason: type }] });
  });

  it.each([
    [{ All: false }, true],
    [{ All: false, Klaviyo: true }, false],
    [{ All: false, Klaviyo: { listId: 'l' } }, false],
    [{ All: false, Klaviyo: null }, true],
    [{ Klaviyo: false }, true],
    [{ All: true, Klaviyo: false }, true],
    [{ All: true }, false],
    [{ 'Google Analytics': false }, false],
    [{}, false],
    [[], false],
  ])('has integrations %j: %s', (integrations, isSkipped) => {
    const expected = isSkipped ? [{ kind: 'track', id: 'm-1', reason: 'integration_off' }] : [];
    expect(one(aTrack({ integrations })).post.skipped).toEqual(expected);
    expect(one(aTrack(), { integrations }).post.skipped).toEqual(expected);
  });

  it('is skipped by its own integrations rather than those of the batch', () => {
    const around = { integrations: { Klaviyo: false } };
    expect(one(aTrack({ integrations: { Klaviyo: true } }), around).post.skipped).toEqual([]);
  });
});

describe('a batch', () => {
  it('applies its context to each call, but prefers the context of the call', () => {
    const traits = { email: 'ada@klaviyo-demo.com' };
    expect(entryOf(aTrack(), { context: { traits } })).toMatchObject(traits);
    const own = { traits: { email: 'grace@klaviyo-demo.com' } };
    const call = aTrack({ context: own });
    expect(entryOf(call, { context: { traits } })).toMatchObject(own.traits);
  });

  it('reports parts that are not calls and accepts the others', () => {
    const batch = [{ type: 'delete', messageId: 'm-0' }, {}, 5, null, aTrack(), { type: 'Track' }];
    const { post, invalidCalls: noCalls, messageIds } = read(JSON.stringify({ batch }));
    expect(noCalls.map(({ index, code }) => [index, code])).toEqual([
      [0, 'unknown_type'],
      [1, 'unknown_type'],
      [2, 'not_valid'],
      [3, 'not_valid'],
      [5, 'unknown_type'],
    ]);
    expect(noCalls[0]?.detail).toBe(
      'type must be one of track, identify, page, screen, group, alias, merge',
    );
    expect(post.entries.map(({ index }) => index)).toEqual([4]);
    expect([messageIds[0], messageIds[4]]).toEqual(['m-0', 'm-1']);
  });

  it('rejects only the call whose JSON has an issue', () => {
    const good = '{"type":"track","event":"e","userId":"1"}';
    const bad = '{"type":"track","event":"e","userId":"1","properties":{"a":"\\ud800","a":1}}';
    const { post, invalidCalls: noCalls } = read(`{"batch":[${good},${bad},${good}]}`);
    expect(post.entries.map(({ index }) => index)).toEqual([0, 2]);
    expect(noCalls).toMatchObject([{ index: 1, code: 'not_valid' }]);
    expect(noCalls[0]?.detail).toMatch(/^\/properties\/a /);
  });

  it('may be empty', () => {
    expect(read('{"batch":[]}').post).toMatchObject({ entries: [], skipped: [] });
  });

  it.each([
    ['5', 'must be {"batch":[…]}'],
    ['[]', 'must be {"batch":[…]}'],
    ['{}', 'must be {"batch":[…]}'],
    ['{"batch":{}}', 'must be {"batch":[…]}'],
    ['{"batch":[],"batch":[]}', '/batch is given more than once'],
    ['{"batch":[{}],"context":[{"a":1,"a":2}]}', '/context/0/a is given more than once'],
    [`{"batch":[${'0,'.repeat(50_000)}0]}`, 'holds more than 50000 calls'],
  ])('is rejected if it is %.40s', (text, detail) => {
    expect(map(text)).toEqual({ ok: false, detail });
  });
});

describe('a single call', () => {
  it('has the type that its path names', () => {
    const { post } = read('{"userId":"42","event":"Viewed","type":"identify"}', { kind: 'track' });
    expect(post.entries).toMatchObject([{ lane: 'events', entry: { event_name: 'Viewed' } }]);
  });

  it.each(['5', '[]', 'null', '{"userId":"1","userId":"2"}'])('is rejected if it is %s', (text) => {
    expect(map(text, { kind: 'track' })).toMatchObject({ ok: false });
  });
});

describe('any posted body', () => {
  const name = fc.constantFrom(
    ...['type', 'userId', 'event', 'traits', 'properties', 'context', 'integrations', 'timestamp'],
    ...['sentAt', 'messageId', 'name', 'email', 'phone', 'address', 'company', 'revenue', 'batch'],
    ...['anonymousId', 'products', 'price', 'quantity', 'order_id', 'consent', 'externalId'],
  );
  const value = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('track', 'identify', 'page', '2026-01-15T11:00:00Z', '0001-01-01', '1.5', ''),
      fc.constantFrom('Order Completed', 'Product Added', 'ada@klaviyo-demo.com', '$1,299.00'),
      fc.jsonValue({ maxDepth: 1 }),
      fc.dictionary(name, tie('value')),
      fc.array(tie('value'), { maxLength: 3 }),
    ),
  })).value;
  const kind = fc.constantFrom('batch', 'track', 'identify', 'page', 'alias');

  it('is mapped without throwing, and each part of a batch is accounted for', () => {
    let entries = 0;
    fc.assert(
      fc.property(kind, fc.array(value, { maxLength: 4 }), value, (each, batch, around) => {
        map(JSON.stringify(around), { kind: each });
        const text = JSON.stringify({ ...(around !== null && { context: around }), batch });
        const found = map(text, { kind: 'batch' });
        // Rejected as a whole for a name such as __proto__ beside the batch.
        fc.pre(found.ok);
        const { post, invalidCalls: noCalls } = found;
        const { skipped } = post;
        // A call may become several entries.
        const indexes = new Set(post.entries.map(({ index }) => index));
        expect(indexes.size + skipped.length + noCalls.length).toBe(batch.length);
        entries += post.entries.length;
      }),
      { numRuns: 2000 },
    );
    expect(entries).toBeGreaterThan(0);
  });
});
