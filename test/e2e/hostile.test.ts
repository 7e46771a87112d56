import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
beforeAll(async () => {
  relay = await startRelay({ env: { BODY_LIMIT_BYTES: '2000000' } });
});
afterAll(() => relay.stop());

type Hostile = {
  readonly path: string;
  readonly body: string | Uint8Array;
  readonly headers: Record<string, string>;
};

async function send({ path, body, headers }: Hostile): Promise<number> {
  const response = await fetch(`${relay.app.url}${path}`, { method: 'POST', body, headers });
  const text = await response.text();
  if (response.status !== 202) {
    expect(response.headers.get('content-type')).toContain('application/problem+json');
    expect(JSON.parse(text)).toMatchObject({
      status: response.status,
      title: expect.any(String) as string,
    });
  }
  return response.status;
}

const json = { 'content-type': 'application/json' };
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
const event = (rest: string): string => `{"event_name":"e","distinct_id":"d",${rest}}`;

describe('the relay answers with a 4xx', () => {
  const bodies: [string, string][] = [
    ['no body', ''],
    ['blanks', '   '],
    ['a lone brace', '{'],
    ['a word', 'null'],
    ['a number', '1e999'],
    ['an array where an object belongs', '[]'],
    ['a __proto__ key', event('"properties":{"__proto__":{"admin":true}}')],
    ['a constructor key', event('"properties":{"constructor":{"prototype":{}}}')],
    ['a number above every number', event('"value":1e999')],
    ['NaN', event('"value":NaN')],
    ['Infinity in properties', event('"properties":{"a":-1e999}')],
    ['a number as text', event('"value":"12.5"')],
    ['a lone surrogate', event('"properties":{"a":"\\ud800"}')],
    ['a lone surrogate in a key', event('"properties":{"\\udc00":1}')],
    ['a duplicate key', event('"properties":{"a":1,"a":2}')],
    ['a duplicate key at the top', event('"event_name":"f"')],
    ['a string of 1 MB', event(`"properties":{"a":"${'x'.repeat(1_000_000)}"}`)],
    ['JSON 10,000 deep', event(`"properties":${nested(10_000)}`)],
    ['arrays 100,000 deep', '['.repeat(100_000)],
    [
      '5,000 properties',
      event(`"properties":{${Array.from({ length: 5000 }, (_, i) => `"k${i}":1`).join(',')}}`),
    ],
    ['a byte order mark and nothing', '\ufeff'],
    ['a trailing comma', event('"value":1,')],
    ['a control character in a string', event('"order_id":"\u0001"')],
  ];

  it.each(bodies)('to %s', async (_name, body) => {
    const status = await send({ path: '/v1/events', body, headers: json });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
  });
});

describe('thousands of generated requests', () => {
  const path = fc.constantFrom(
    '/v1/events',
    '/v1/profiles',
    '/v1/events/batch',
    '/v1/profiles/batch',
    '/v1/flush',
    '/v1/dead-letters/redrive',
    '/v1/nothing',
  );
  const field = fc.constantFrom(
    'event_name',
    'email',
    'distinct_id',
    'phone_number',
    'event_time',
    'insert_id',
    'properties',
    'value',
    'currency',
    'order_id',
    'location',
    '__proto__',
    'first_name',
  );
  const value = fc.oneof(
    fc.jsonValue(),
    fc.string({ unit: 'binary' }),
    fc.double(),
    fc.bigInt().map(String),
  );
  const record = fc.array(fc.tuple(field, value), { maxLength: 8 }).map((entries) => {
    const parts = entries.map(([key, each]) => `${JSON.stringify(key)}:${JSON.stringify(each)}`);
    return `{${parts.join(',')}}`;
  });
  const text = fc.oneof(
    record,
    fc.array(record, { maxLength: 5 }).map((records) => `[${records.join(',')}]`),
    fc.array(record, { maxLength: 5 }).map((records) => `{"events":[${records.join(',')}]}`),
    fc.array(record, { maxLength: 5 }).map((records) => records.join('\n')),
    fc.json(),
    fc.string({ unit: 'binary' }),
    // A valid body with one character changed.
    fc.tuple(fc.nat(60), fc.string({ minLength: 1, maxLength: 1 })).map(([at, character]) => {
      const valid = event('"properties":{"a":[1,{"b":null}]},"value":1.5');
      return valid.slice(0, at) + character + valid.slice(at + 1);
    }),
  );
  const encodings = {
    identity: (body: Buffer) => body,
    gzip: (body: Buffer) => gzipSync(body),
    deflate: (body: Buffer) => deflateSync(body),
    br: (body: Buffer) => brotliCompressSync(body),
    'gzip, but it is not': (body: Buffer) => body,
    'gzip, cut short': (body: Buffer) => gzipSync(body).subarray(0, 15),
    zstd: (body: Buffer) => body,
  };
  const encoding = fc.constantFrom(...(Object.keys(encodings) as (keyof typeof encodings)[]));
  const type = fc.constantFrom(
    'application/json',
    'application/x-ndjson',
    'text/plain',
    'application/json; charset=utf-8',
    'multipart/form-data',
    '*/*',
  );
  const extra = fc.constantFrom<Record<string, string>[]>(
    {},
    { 'idempotency-key': 'k'.repeat(300) },
    { 'x-request-id': '<script>' },
    { 'x-api-key': 'wrong' },
    { authorization: 'Bearer ' },
  );

  it('never cause a 5xx and leave the relay working', async () => {
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(
        path,
        text,
        encoding,
        type,
        extra,
        async (where, body, how, contentType, more) => {
          const sent = encodings[how](Buffer.from(body));
          const status = await send({
            path: where,
            body: new Uint8Array(sent),
            headers: {
              'content-type': contentType,
              'content-encoding': how.split(',')[0] ?? '',
              ...more,
            },
          });
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
          expect(status).toBeLessThan(500);
        },
      ),
      { numRuns: 3000 },
    );
    expect([...statuses.keys()].length).toBeGreaterThan(3);
    const response = await relay.post('/v1/events', { event_name: 'Still here', distinct_id: 'd' });
    expect(response.status).toBe(202);
  }, 120_000);
});
