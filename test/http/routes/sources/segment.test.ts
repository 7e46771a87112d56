import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalizeSegmentUrl } from '../../../../src/sources/segment/paths.js';
import type {
  AcceptedFromSource,
  FromSourceOptions,
} from '../../../../src/ingest/accept-from-source.js';
import type { SourcePost } from '../../../../src/ingest/source-entry.js';
import { createManualClock } from '../../../support/manual-clock.js';
import { adminKey, ingestKey, metricValue, startServer, type Overrides } from '../../harness.js';

const takenOne: AcceptedFromSource = {
  kind: 'accepted',
  accepted: 1,
  duplicates: 0,
  waiting: 0,
  warnings: [],
  rejected: [],
  repeat: false,
};

/** A server whose accept half returns this result, and the requests that it received. */
async function start(overrides: Overrides = {}, response: AcceptedFromSource = takenOne) {
  const posted: (SourcePost & FromSourceOptions)[] = [];
  const server = await startServer({
    acceptFromSource: (post, options) => {
      posted.push({ ...post, ...options });
      return Promise.resolve(response);
    },
    ...overrides,
  });
  return { ...server, posted };
}

const closed = { RELAY_API_KEYS: [ingestKey], RELAY_ADMIN_KEYS: [adminKey] };
const aCall = { type: 'track', userId: '42', event: 'Viewed', messageId: 'm-1' };
const aBatch = { batch: [aCall] };
const basic = (text: string) => ({
  authorization: `Basic ${Buffer.from(text).toString('base64')}`,
});
const invalidKey = {
  success: false,
  code: 'invalid_write_key',
  message: 'the write key is missing or not known; it is an ingest key of the relay',
};
const nothingRejected = { success: true, accepted: 1, duplicates: 0, rejected: [], warnings: [] };

const batchPaths = [
  ...['/v1/batch', '/v1/import', '/v1/b', '/v1/replay', '/v1/retl', '/beacon/v1/batch'],
  ...['/internal/v1/batch', '/internal/v1/replay', '/internal/v1/retl'],
];
const singlePaths = [
  ...['/v1/track', '/v1/identify', '/v1/page', '/v1/screen', '/v1/group', '/v1/alias'],
  ...['/v1/t', '/v1/i', '/v1/p', '/v1/s', '/v1/g', '/v1/a', '/v1/merge', '/v1/pixel/track'],
  ...['/pixel/v1/track', '/pixel/v1/page'],
];

describe.each([...batchPaths, ...singlePaths])('POST %s', (path) => {
  const body = batchPaths.includes(path) ? aBatch : aCall;

  it.each(['', '/', '?x=1', '/?x=1'])('is accepted with "%s" after it', async (behind) => {
    const { post, posted } = await start();
    const response = await post(path + behind, body);
    expect([response.status, response.json]).toEqual([200, nothingRejected]);
    expect(posted).toMatchObject([{ source: 'segment', strict: false }]);
    const parts = posted.flatMap(({ entries, skipped }) => [...entries, ...skipped]);
    expect(parts).toHaveLength(1);
  });
});

describe('paths', () => {
  it.each([
    '/v1/events/batch',
    '/v1/events',
    '/v1/x',
    '/v1/bb',
    '/v1/b/t',
    '/v1/batch//',
    '/b',
    '/',
  ])('stay as they are if they are not of an SDK: %s', (path) =>
    expect(normalizeSegmentUrl(path)).toBe(path),
  );

  it('are counted by the name they have in full', async () => {
    const { post, metrics } = await start();
    await post('/v1/b/', aBatch);
    const labels = { route: '/v1/batch', method: 'POST', status: '200' };
    expect(await metricValue(metrics, 'relay_http_requests_total', labels)).toBe(1);
  });

  it("leave the relay's own routes alone", async () => {
    const { post, accepted } = await start();
    expect((await post('/v1/events/batch', [])).status).toBe(202);
    expect(accepted).toHaveLength(1);
  });

  it('accept POST and a preflight, and list both', async () => {
    const { call } = await start();
    const response = await call('GET', '/v1/batch');
    expect([response.status, response.headers.allow]).toEqual([405, 'OPTIONS, POST']);
  });
});

describe('a body', () => {
  const text = JSON.stringify(aBatch);

  it.each([
    'application/json',
    'text/plain;charset=UTF-8',
    'application/x-www-form-urlencoded',
    'application/json; charset=iso-8859-1',
    'image/png',
    undefined,
  ])('may have the content type %s', async (type) => {
    const { call, posted } = await start();
    const headers = { ...(type !== undefined && { 'content-type': type }) };
    expect((await call('POST', '/v1/batch', { headers, body: text })).status).toBe(200);
    expect(posted).toMatchObject([{ entries: [{ entry: { event_name: 'Viewed' } }] }]);
  });

  it.each([
    ['gzip', gzipSync(text)],
    ['deflate', deflateSync(text)],
    ['br', brotliCompressSync(text)],
  ])('may be encoded as %s', async (encoding, body) => {
    const { call, posted } = await start();
    const headers = { 'content-encoding': encoding, 'content-type': 'application/json' };
    expect((await call('POST', '/v1/batch', { headers, body })).status).toBe(200);
    expect(posted).toMatchObject([{ entries: [{ entry: { event_name: 'Viewed' } }] }]);
  });

  const gzip = { 'content-encoding': 'gzip' };
  const refused: [string, string | Buffer, Record<string, string>, RegExp][] = [
    ['is not JSON', '{"batch":[', {}, /^the body is not valid JSON/],
    ['is empty', '', {}, /^the body is empty/],
    ['has no batch', '{}', {}, /^the body must be {"batch":/],
    ['is too large', 'a'.repeat(10_001), {}, /10000 bytes/],
    ['is too large once it is expanded', gzipSync('a'.repeat(10_001)), gzip, /10000 bytes/],
    ['is not what its encoding says', 'text', gzip, /corrupt/],
    ['has an unknown encoding', text, { 'content-encoding': 'zstd' }, /gzip, deflate, br/],
    ['is not UTF-8', Buffer.from([0x7b, 0xff]), {}, /UTF-8/],
  ];

  it.each(refused)(
    'is answered 400 if it %s, because a repetition would not help',
    async (...row) => {
      const [, body, headers, message] = row;
      const { call, posted } = await start();
      const response = await call('POST', '/v1/batch', { headers, body });
      expect(response.status).toBe(400);
      expect(response.headers['content-type']).toMatch(/^application\/json/);
      expect(response.json).toEqual({
        success: false,
        code: expect.stringMatching(/^(invalid|too_large|unsupported_media_type)$/) as string,
        message: expect.stringMatching(message) as string,
      });
      expect(posted).toEqual([]);
    },
  );

  it.each(refused)('is answered 401 if it %s and has no key', async (_what, body, headers) => {
    const { call } = await start({ config: closed });
    const response = await call('POST', '/v1/batch', { headers, body });
    expect([response.status, response.json]).toEqual([401, invalidKey]);
  });
});

describe('a write key', () => {
  it.each([
    ['the user of Basic', basic(`${ingestKey}:`), {}],
    ['the user of Basic, without the colon', basic(ingestKey), {}],
    ['the user of Basic, whatever the body says', basic(`${ingestKey}:`), { writeKey: 'wrong' }],
    ['the user of Basic, with some password', basic(`${ingestKey}:x`), {}],
    ['lower-case basic', { authorization: basic(ingestKey).authorization.replace('B', 'b') }, {}],
    ['the body', {}, { writeKey: ingestKey }],
    ['the body, if Basic has no user', basic(':'), { writeKey: ingestKey }],
    [
      'the body, beside a token of OAuth',
      { authorization: 'Bearer oauth' },
      { writeKey: ingestKey },
    ],
    ['Bearer', { authorization: `Bearer ${ingestKey}` }, {}],
    ['X-API-Key', { 'x-api-key': ingestKey }, {}],
    ['an admin key', basic(adminKey), {}],
  ])('may be %s', async (_what, headers, body) => {
    const { post, posted } = await start({ config: closed });
    expect((await post('/v1/batch', { ...aBatch, ...body }, headers)).status).toBe(200);
    expect(posted).toHaveLength(1);
  });

  it.each([
    ['nowhere', {}, {}],
    ['wrong in Basic', basic('wrong-key-1:'), {}],
    ['wrong in Basic, which precedes the body', basic('wrong-key-1'), { writeKey: ingestKey }],
    ['the password of Basic', basic(`:${ingestKey}`), {}],
    ['wrong in the body', {}, { writeKey: `${ingestKey}x` }],
    ['of another kind', {}, { writeKey: [ingestKey] }],
    ['wrong as Bearer', { authorization: 'Bearer wrong-key-1' }, {}],
    ['in a call', {}, { batch: [{ ...aCall, writeKey: ingestKey }] }],
  ])('counts as missing, with a 401, if it is %s', async (_what, headers, body) => {
    const { post, posted } = await start({ config: closed });
    const response = await post('/v1/batch', { ...aBatch, ...body }, headers);
    expect([response.status, response.json]).toEqual([401, invalidKey]);
    // A Basic challenge would have a browser ask for a password.
    expect(response.headers['www-authenticate']).toBe('Bearer realm="klaviyo-relay"');
    expect(posted).toEqual([]);
  });

  it('is not required if no keys are configured', async () => {
    const { post } = await start();
    expect((await post('/v1/batch', aBatch, basic('anything:'))).status).toBe(200);
  });

  it('is required of a web page of another origin, with a 401 in the same form', async () => {
    const { post } = await start();
    const response = await post('/v1/batch', aBatch, { origin: 'https://shop.example.com' });
    expect([response.status, response.json]).toEqual([
      403,
      {
        success: false,
        code: 'forbidden',
        message: 'without RELAY_API_KEYS only this machine is served',
      },
    ]);
  });
});

describe('a request without a key', () => {
  const full = { reason: 'full', retryAfterMs: 5000 } as const;

  it.each([
    ['has an invalid query', '/v1/batch?strict=perhaps', {}],
    ['arrives while the store is full', '/v1/batch', { backpressure: () => full }],
    ['arrives while the relay stops', '/v1/batch', { isDraining: () => true }],
    [
      'meets an internal error',
      '/v1/batch',
      {
        clock: {
          ...createManualClock(),
          now: () => {
            throw new Error('out of order');
          },
        },
      },
    ],
  ])('is answered 401 if it %s', async (_what, path, overrides) => {
    const { post } = await start({ config: closed, ...(overrides as Overrides) });
    const response = await post(path, aBatch, {});
    expect([response.status, response.json]).toEqual([401, invalidKey]);
  });
});

describe('a response', () => {
  it('names the calls that cannot be sent by their messageIds', async () => {
    const rejected = [
      { index: 2, code: 'not_valid', errors: [{ pointer: '/event_name', detail: 'is required' }] },
      { index: 0, code: 'not_valid', errors: [{ pointer: '', detail: 'needs somebody' }] },
    ];
    const { post, metrics } = await start({}, { ...takenOne, duplicates: 3, rejected });
    const batch = [{ ...aCall, messageId: undefined }, { type: 'delete', messageId: 'm-2' }, aCall];
    expect((await post('/v1/batch', { batch })).json).toEqual({
      success: true,
      accepted: 1,
      duplicates: 3,
      rejected: [
        { index: 0, code: 'not_valid', message: 'needs somebody' },
        {
          index: 1,
          messageId: 'm-2',
          code: 'unknown_type',
          message: 'type must be one of track, identify, page, screen, group, alias, merge',
        },
        {
          index: 2,
          messageId: 'm-1',
          code: 'not_valid',
          message: '/event_name is required',
        },
      ],
      warnings: [],
    });
    const labels = { lane: 'events', outcome: 'invalid' };
    expect(await metricValue(metrics, 'relay_ingest_total', labels)).toBe(1);
  });

  it('lists at most 5,000 rejected calls and counts the others', async () => {
    const errors = [{ pointer: '/event_name', detail: 'is required' }];
    const rejected = Array.from({ length: 4000 }, (_, index) => ({
      index,
      code: 'not_valid',
      errors,
    }));
    const config = { BODY_LIMIT_BYTES: 5_000_000 };
    const { post } = await start({ config }, { ...takenOne, rejected });
    const batch = [...Array<object>(4000).fill(aCall), ...Array<object>(3000).fill({})];
    const taken = (await post('/v1/batch', { batch })).json as Record<string, unknown>;
    expect(taken).toMatchObject({ success: true, accepted: 1, rejected_unlisted: 2000 });
    expect(taken.rejected).toHaveLength(5000);
    expect(taken.rejected).toMatchObject({
      3999: { index: 3999, code: 'not_valid' },
      4000: { index: 4000, code: 'unknown_type' },
    });
    const batchOfNone = Array<object>(7000).fill({});
    expect((await post('/v1/batch?strict=1', { batch: batchOfNone })).json).toMatchObject({
      message: '7000 calls are not valid, and in strict mode nothing is taken then',
      rejected: { length: 5000 },
      rejected_unlisted: 2000,
    });
  });

  it('is 429 with Retry-After on backpressure', async () => {
    const { post, metrics } = await start({
      backpressure: () => ({ reason: 'full', retryAfterMs: 1 }),
    });
    const response = await post('/v1/batch', aBatch);
    expect([response.status, response.headers['retry-after']]).toEqual([429, '1']);
    expect(response.json).toEqual({
      success: false,
      code: 'unavailable',
      message: 'the buffer is full; nothing was accepted',
    });
    const labels = { lane: 'events', outcome: 'refused' };
    expect(await metricValue(metrics, 'relay_ingest_total', labels)).toBe(1);
  });

  it.each([
    ['full', 1500, '2'],
    ['unavailable', 900_000, '300'],
    ['closed', 0, '1'],
  ] as const)(
    'is 429 if the store is %s when it appends',
    async (reason, retryAfterMs, seconds) => {
      const { post } = await start({}, { kind: 'backpressure', reason, retryAfterMs });
      const response = await post('/v1/batch', aBatch);
      expect([response.status, response.headers['retry-after']]).toEqual([429, seconds]);
    },
  );

  it('is 429 while the relay stops, with a key in the body as in the headers', async () => {
    const config = { ...closed, SHUTDOWN_TIMEOUT_MS: 600_000 };
    const { post } = await start({ config, isDraining: () => true });
    for (const [headers, body] of [
      [basic(ingestKey), {}],
      [{}, { writeKey: ingestKey }],
    ] as const) {
      const response = await post('/v1/batch', { ...aBatch, ...body }, headers);
      expect([response.status, response.headers['retry-after']]).toEqual([429, '300']);
    }
  });

  it('is 500 in the same form if the relay fails, which is logged', async () => {
    const { post, logged } = await start({
      acceptFromSource: () => Promise.reject(new Error('out of order')),
    });
    const response = await post('/v1/batch', aBatch);
    expect([response.status, response.json]).toEqual([
      500,
      { success: false, code: 'internal', message: 'an unexpected failure; it was logged' },
    ]);
    expect(JSON.stringify(logged)).toContain('out of order');
  });
});

it('a response lists at most 5,000 warnings by their messageIds', async () => {
  const warning = {
    index: 0,
    code: 'unreadable_amount',
    pointer: '/properties/revenue',
    detail: 'x',
  };
  const warnings = [warning, ...Array<typeof warning>(5000).fill({ ...warning, index: 1 })];
  const { post } = await start({}, { ...takenOne, warnings });
  const batch = [aCall, { ...aCall, messageId: undefined }];
  const taken = (await post('/v1/batch', { batch })).json as Record<string, unknown>;
  expect(taken).toMatchObject({ success: true, warnings: { length: 5000 }, warnings_unlisted: 1 });
  expect((taken.warnings as unknown[]).slice(0, 2)).toEqual([
    { index: 0, messageId: 'm-1', code: 'unreadable_amount', message: '/properties/revenue x' },
    { index: 1, code: 'unreadable_amount', message: '/properties/revenue x' },
  ]);
});

describe("other paths of RudderStack's and Segment's gateways", () => {
  it.each(['/v1/merge', '/pixel/v1/track', '/v1/track'])(
    'accept a batch that is posted to %s',
    async (path) => {
      const { post, posted } = await start();
      expect((await post(path, aBatch)).json).toEqual(nothingRejected);
      expect(posted).toMatchObject([{ entries: [{ entry: { event_name: 'Viewed' } }] }]);
    },
  );

  it.each(['/v1/webhook', '/v1/webhook/?writeKey=x', '/internal/v1/extract', '/v1/audiencelist'])(
    'are known and not supported: %s',
    async (path) => {
      const { post, posted } = await start();
      const response = await post(path, aBatch);
      expect([response.status, response.json]).toMatchObject([
        400,
        { success: false, code: 'unsupported_path' },
      ]);
      expect(posted).toEqual([]);
    },
  );

  it('accept a write key in the query if no header has one', async () => {
    const { post, posted } = await start({ config: closed });
    const query = `?writeKey=${ingestKey}`;
    expect((await post(`/beacon/v1/batch${query}`, aBatch, {})).status).toBe(200);
    expect((await post(`/v1/batch${query}`, aBatch, {})).status).toBe(200);
    expect((await post(`/v1/batch${query}`, aBatch, basic('wrong-key-1:'))).status).toBe(401);
    expect((await post('/beacon/v1/batch?writeKey=wrong-key-1', aBatch, {})).status).toBe(401);
    expect((await post('/v1/webhook', aBatch, {})).status).toBe(401);
    expect(posted).toHaveLength(2);
  });

  it.each([
    [
      '/pixel/v1/page',
      `writeKey=${ingestKey}&anonymousId=a&name=Home&properties.path=%2Fa&context.locale=de`,
      { event_name: 'Viewed Home Page', properties: { path: '/a' } },
    ],
    [
      '/pixel/v1/track',
      `writeKey=${ingestKey}&userId=42&event=Opened&__proto__.x=1&properties.__proto__=2&properties..a=3`,
      { event_name: 'Opened', distinct_id: '42' },
    ],
    [
      '/v1/pixel/track',
      `data=${Buffer.from(JSON.stringify({ writeKey: ingestKey, userId: 'u', event: 'Opened' })).toString('base64url')}`,
      { event_name: 'Opened', distinct_id: 'u' },
    ],
  ])('accept a call in the query of GET %s and answer a pixel', async (path, query, entry) => {
    const { call, posted } = await start({ config: closed });
    const response = await call('GET', `${path}?${query}`);
    expect([response.status, response.headers['content-type']]).toEqual([200, 'image/gif']);
    expect(posted.flatMap(({ entries }) => entries.map((each) => each.entry))).toEqual([entry]);
    expect((await call('GET', path)).status).toBe(401);
  });

  it('GET /health and GET /version need no key, and /health reports whether the relay accepts calls', async () => {
    const { call } = await start({ config: closed });
    expect((await call('GET', '/health')).json).toEqual({ server: 'UP' });
    expect((await call('GET', '/version')).json).toEqual({ Version: 'klaviyo-relay' });
    const full = await start({ backpressure: () => ({ reason: 'full', retryAfterMs: 1 }) });
    expect((await full.call('GET', '/health')).status).toBe(503);
  });

  it('GET /v1/pixel without a type of call is answered 404', async () => {
    const { call } = await start();
    expect((await call('GET', '/pixel/v1/delete?userId=1')).status).toBe(400);
  });

  it('GET /sourceConfig makes an SDK of RudderStack send only to this relay', async () => {
    const { call } = await start({ config: closed });
    const response = await call('GET', `/sourceConfig/?p=web&v=3&writeKey=${ingestKey}`);
    expect(response.json).toMatchObject({
      source: { enabled: true, writeKey: ingestKey, destinations: [], config: {} },
    });
    expect((await call('GET', '/sourceConfig/?writeKey=wrong')).status).toBe(401);
  });
});

describe('a quota', () => {
  const config = { ...closed, INGEST_RATE_LIMIT_PER_SECOND: 2 };

  it('counts the calls of SDKs and those of other routes together, wherever the key is', async () => {
    const { post, clock } = await start({ config });
    const asHeader = () => post('/v1/batch', aBatch, basic(ingestKey));
    const asBody = () => post('/v1/t', { ...aCall, writeKey: ingestKey });
    expect((await asHeader()).status).toBe(200);
    expect((await post('/v1/events', {}, { 'x-api-key': ingestKey })).status).toBe(202);
    for (const ask of [asHeader, asBody]) {
      const response = await ask();
      expect([response.status, response.headers['retry-after']]).toEqual([429, '1']);
      expect(response.json).toEqual({
        success: false,
        code: 'over_quota',
        message: 'each caller may send 2 requests a second',
      });
    }
    expect((await post('/v1/batch', aBatch, basic(adminKey))).status).toBe(200);
    await clock.advance(1000);
    expect((await asBody()).status).toBe(200);
  });

  it('is not used up by requests without a key', async () => {
    const { post } = await start({ config });
    for (let count = 0; count < 5; count++) {
      expect((await post('/v1/batch', { ...aBatch, writeKey: 'wrong' })).status).toBe(401);
    }
    expect((await post('/v1/batch', aBatch, basic(ingestKey))).status).toBe(200);
  });
});

describe('strict mode', () => {
  it.each([
    ['?strict=1', {}, true],
    ['?strict=true', {}, true],
    ['', { 'x-strict-mode': '1' }, true],
    ['?strict=0', {}, false],
    ['', { 'x-strict-mode': '0' }, false],
  ])('is requested by %s %j: %s', async (query, headers, strict) => {
    const { post, posted } = await start();
    expect((await post(`/v1/batch${query}`, aBatch, headers)).status).toBe(200);
    expect(posted).toMatchObject([{ strict }]);
  });

  it('answers 400 if an entry cannot be sent', async () => {
    const errors = [{ pointer: '/event_name', detail: 'is required' }];
    const rejected = [{ index: 0, code: 'not_valid', errors }];
    const { post } = await start({}, { kind: 'invalid', rejected });
    const response = await post('/v1/batch?strict=1', aBatch);
    expect([response.status, response.json]).toEqual([
      400,
      {
        success: false,
        code: 'rejected',
        message: '1 call is not valid, and in strict mode nothing is taken then',
        rejected: [
          { index: 0, messageId: 'm-1', code: 'not_valid', message: '/event_name is required' },
        ],
      },
    ]);
  });

  it('answers 400 and accepts nothing if a part is not a call', async () => {
    const { post, posted, metrics } = await start();
    const response = await post('/v1/batch?strict=1', { batch: [aCall, { type: 'delete' }] });
    expect([response.status, posted]).toEqual([400, []]);
    expect(response.json).toMatchObject({ rejected: [{ index: 1, code: 'unknown_type' }] });
    const labels = { lane: 'events', outcome: 'invalid' };
    expect(await metricValue(metrics, 'relay_ingest_total', labels)).toBe(2);
  });

  it('answers 400 for any other value', async () => {
    const { post } = await start();
    const response = await post('/v1/batch?strict=perhaps', aBatch);
    expect(response.status).toBe(400);
    expect(response.json).toMatchObject({
      message: 'the query is not valid: /strict must be 1 or 0',
    });
  });
});

describe('a browser', () => {
  const origin = { origin: 'https://shop.example.com' };

  it('may send a preflight without a key', async () => {
    const { call, posted } = await start({ config: closed });
    const response = await call('OPTIONS', '/v1/t', {
      headers: {
        ...origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
    expect([response.status, response.text]).toEqual([204, '']);
    expect(response.headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': expect.stringMatching(
        /^authorization, content-type,/,
      ) as string,
    });
    expect(posted).toEqual([]);
  });

  it.each([
    ['200', basic(ingestKey), aCall],
    ['400', basic(ingestKey), []],
    ['401', {}, aCall],
  ])('may read the response: %s', async (status, headers, body) => {
    const { post } = await start({ config: closed });
    const response = await post('/v1/t', body, { ...origin, ...headers });
    expect(String(response.status)).toBe(status);
    expect(response.headers['access-control-allow-origin']).toBe('*');
    expect(response.headers['access-control-expose-headers']).toBe('retry-after');
  });

  it('may neither send a preflight nor read responses at other paths', async () => {
    const { call } = await start({ config: closed });
    const response = await call('OPTIONS', '/v1/events', { headers: origin });
    expect(response.status).toBe(405);
    expect(response.headers).not.toHaveProperty('access-control-allow-origin');
  });
});

describe('any request with a key', () => {
  it('never gets a 5xx', async () => {
    const { call } = await start({ config: closed });
    const path = fc.constantFrom(...batchPaths, ...singlePaths);
    const body = fc.oneof(
      fc.json({ stringUnit: 'binary' }),
      fc.json().map((text) => `{"batch":[${text}]}`),
      fc.json().map((text) => `{"userId":1,"traits":${text},"properties":${text}}`),
      fc.string({ unit: 'binary' }),
    );
    const query = fc.constantFrom('', '/', '?strict=1', '?strict', '?%');
    await fc.assert(
      fc.asyncProperty(path, query, body, async (where, behind, text) => {
        const response = await call('POST', where + behind, {
          headers: basic(ingestKey),
          body: text,
        });
        expect([200, 400]).toContain(response.status);
        expect(response.json).toMatchObject({ success: response.status === 200 });
      }),
      { numRuns: 500 },
    );
  });
});
