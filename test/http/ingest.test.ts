import { describe, expect, it } from 'vitest';
import { entryNames } from '../../src/ingest/schema.js';
import { postedLanes } from '../../src/model/lane.js';
import { metricValue, problemOf, startServer, acceptedMany } from './harness.js';

const issue = { pointer: '/email', detail: 'must be an e-mail address' };

/** Each lane with the last part of its path and the noun for one entry. */
const paths = postedLanes.map(
  (lane) => [entryNames[lane].many, lane, entryNames[lane].one] as const,
);

describe.each(paths)('POST /v1/%s', (path, lane, noun) => {
  it('passes the text of the body to accept and responds 202 with the id', async () => {
    const server = await startServer();
    const body = '{"event_name" : "Viewed",\n"n":12345678901234567890}';
    const response = await server.call('POST', `/v1/${path}`, {
      headers: { 'content-type': 'application/json; charset=utf-8' },
      body,
    });
    expect(response.status).toBe(202);
    expect(response.text).toBe('{"id":"e1","status":"accepted"}');
    expect(response.headers['content-type']).toMatch(/^application\/json/);
    expect(server.accepted).toEqual([{ lane, body, options: { idempotencyKey: undefined } }]);
  });

  it('passes the Idempotency-Key to accept', async () => {
    const server = await startServer();
    await server.post(`/v1/${path}`, {}, { 'idempotency-key': 'order-1' });
    expect(server.accepted[0]?.options).toEqual({ idempotencyKey: 'order-1' });
  });

  it('responds with the status duplicate, the ids of the lists and the warnings of a duplicate', async () => {
    const ids = { id: 'e1', listIds: ['e2'], removalIds: ['e3'] } as const;
    const one = { kind: 'accepted', ...ids, duplicate: true, warnings: [issue] } as const;
    const server = await startServer({ one });
    const response = await server.post(`/v1/${path}`, {});
    expect(response.status).toBe(202);
    expect(response.json).toEqual({
      id: 'e1',
      status: 'duplicate',
      lists: ['e2'],
      remove_from_lists: ['e3'],
      warnings: [issue],
    });
  });

  it('responds 400 with a pointer to each invalid field', async () => {
    const server = await startServer({ one: { kind: 'invalid', errors: [issue] } });
    const response = await server.post(`/v1/${path}`, {});
    expect(response.status).toBe(400);
    expect(response.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(response.json).toEqual({
      type: 'urn:klaviyo-relay:problem:invalid',
      title: 'The request is not valid',
      status: 400,
      detail: `the ${noun} is not valid`,
      instance: `urn:klaviyo-relay:request:${String(response.headers['x-request-id'])}`,
      errors: [issue],
    });
  });

  it.each([
    [0, '1'],
    [1, '1'],
    [1000, '1'],
    [1001, '2'],
    [61_000.5, '62'],
  ])('reports a backpressure of %d ms as 503 with Retry-After: %s', async (ms, s) => {
    const one = { kind: 'backpressure', reason: 'full', retryAfterMs: ms } as const;
    const server = await startServer({ one });
    const response = await server.post(`/v1/${path}`, {});
    expect([response.status, problemOf(response)]).toEqual([503, 'unavailable']);
    expect(response.headers['retry-after']).toBe(s);
  });

  it('passes an empty body to accept, which rejects it', async () => {
    const server = await startServer({ one: { kind: 'invalid', errors: [issue] } });
    const response = await server.call('POST', `/v1/${path}`);
    expect(response.status).toBe(400);
    expect(server.accepted[0]?.body).toBe('');
  });

  it('rejects NDJSON, which only batches may use', async () => {
    const server = await startServer();
    const headers = { 'content-type': 'application/x-ndjson' };
    const response = await server.call('POST', `/v1/${path}`, { headers, body: '{}\n{}' });
    expect([response.status, problemOf(response)]).toEqual([415, 'unsupported-media-type']);
    expect(response.json).toMatchObject({ detail: 'send application/json' });
    expect(server.accepted).toEqual([]);
  });

  it('rejects an unknown query parameter', async () => {
    const server = await startServer();
    const response = await server.post(`/v1/${path}?strict=true`, {});
    expect(response.status).toBe(400);
    expect(server.accepted).toEqual([]);
  });
});

describe.each(paths)('POST /v1/%s/batch', (path, lane, noun) => {
  it('responds 202 with the counts', async () => {
    const server = await startServer();
    const response = await server.post(`/v1/${path}/batch`, []);
    expect(response.status).toBe(202);
    expect(response.json).toEqual({ accepted: 2, duplicates: 1, rejected: [] });
    expect(server.accepted).toEqual([
      { lane, body: '[]', options: { format: 'json', strict: false } },
    ]);
  });

  it('lists rejected entries and entries with warnings by index', async () => {
    const many = {
      ...acceptedMany,
      rejected: [{ index: 3, errors: [issue] }],
      warnings: [{ index: 0, warnings: [issue] }],
    };
    const server = await startServer({ many });
    const response = await server.post(`/v1/${path}/batch`, []);
    expect(response.status).toBe(202);
    expect(response.json).toEqual({
      accepted: 2,
      duplicates: 1,
      rejected: [{ index: 3, errors: [issue] }],
      warnings: [{ index: 0, warnings: [issue] }],
    });
  });

  it('lists the ids with ?ids=true', async () => {
    const server = await startServer();
    const response = await server.post(`/v1/${path}/batch?ids=true`, []);
    expect(response.json).toMatchObject({ ids: ['e1', 'e2', 'e3'] });
  });

  it('passes ?strict=true to accept', async () => {
    const server = await startServer();
    await server.post(`/v1/${path}/batch?strict=true`, []);
    expect(server.accepted[0]?.options).toEqual({ format: 'json', strict: true });
  });

  it.each(['application/x-ndjson', 'application/jsonl', 'Application/X-NDJSON; charset=utf-8'])(
    'reads %s as one entry per line',
    async (type) => {
      const server = await startServer();
      const headers = { 'content-type': type };
      const response = await server.call('POST', `/v1/${path}/batch`, { headers, body: '{}\n{}' });
      expect(response.status).toBe(202);
      expect(server.accepted).toEqual([
        { lane, body: '{}\n{}', options: { format: 'ndjson', strict: false } },
      ]);
    },
  );

  it('responds 400 if no entry is valid', async () => {
    const errors = [{ pointer: '/0/email', detail: 'is required' }];
    const rejected = [{ index: 0, errors: [issue] }];
    const server = await startServer({
      many: { kind: 'invalid', errors, rejected, rejectedCount: 1 },
    });
    const response = await server.post(`/v1/${path}/batch`, [{}]);
    expect(response.status).toBe(400);
    expect(response.json).toMatchObject({
      detail: `nothing was accepted: 1 ${noun} is not valid`,
      errors,
    });
  });

  it('responds 400 if the body is not a list', async () => {
    const errors = [{ pointer: '', detail: 'must be a list' }];
    const server = await startServer({
      many: { kind: 'invalid', errors, rejected: [], rejectedCount: 0 },
    });
    const response = await server.post(`/v1/${path}/batch`, 1);
    expect(response.json).toMatchObject({
      status: 400,
      detail: 'nothing was accepted: the body is not valid',
      errors,
    });
  });

  it.each(['strict=yes', 'strict=', 'ids=1', 'strict=true&strict=false', 'nonsense=true'])(
    'rejects the query ?%s',
    async (query) => {
      const server = await startServer();
      const response = await server.post(`/v1/${path}/batch?${query}`, []);
      expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
      expect(response.json).toMatchObject({ detail: 'the query is not valid' });
      expect(server.accepted).toEqual([]);
    },
  );

  it('responds 503 if the store reports backpressure', async () => {
    const many = { kind: 'backpressure', reason: 'unavailable', retryAfterMs: 5000 } as const;
    const server = await startServer({ many });
    const response = await server.post(`/v1/${path}/batch`, []);
    expect([response.status, response.headers['retry-after']]).toEqual([503, '5']);
  });
});

describe.each(['', '/batch'])('POST /v1/events%s?backfill', (path) => {
  it.each([
    ['true', true],
    ['false', false],
  ])('passes %s on', async (text, backfill) => {
    const server = await startServer();
    expect((await server.post(`/v1/events${path}?backfill=${text}`, [])).status).toBe(202);
    expect(server.accepted[0]?.options).toMatchObject({ backfill });
  });

  it.each(['backfill=yes', 'backfill=', 'backfill=1', 'backfill=true&backfill=true'])(
    'responds 400 to ?%s with a pointer to the parameter',
    async (query) => {
      const server = await startServer();
      const response = await server.post(`/v1/events${path}?${query}`, []);
      expect(response.status).toBe(400);
      expect(response.json).toMatchObject({
        detail: 'the query is not valid',
        errors: [{ pointer: '/backfill', detail: 'must be true or false' }],
      });
      expect(server.accepted).toEqual([]);
    },
  );

  it('rejects the parameter for profiles', async () => {
    const server = await startServer();
    const response = await server.post(`/v1/profiles${path}?backfill=true`, []);
    expect(response.status).toBe(400);
    expect(JSON.stringify(response.json)).toContain('backfill');
    expect(server.accepted).toEqual([]);
  });
});

describe.each(paths)('intake of %s', (path, lane) => {
  it('is rejected before the body is read while the store reports backpressure', async () => {
    const server = await startServer({
      backpressure: () => ({ reason: 'full', retryAfterMs: 2500 }),
    });
    const response = await server.post(`/v1/${path}`, {});
    expect([response.status, response.headers['retry-after']]).toEqual([503, '3']);
    expect(response.json).toMatchObject({ detail: 'the buffer is full; nothing was accepted' });
    expect(response.headers.connection).toBe('keep-alive');
    expect(server.accepted).toEqual([]);
    const labels = { lane, outcome: 'refused' };
    expect(await metricValue(server.metrics, 'relay_ingest_total', labels)).toBe(1);
  });

  it('is rejected while the relay drains, and the connection is closed', async () => {
    const server = await startServer({
      isDraining: () => true,
      config: { SHUTDOWN_TIMEOUT_MS: 7500 },
    });
    const response = await server.post(`/v1/${path}/batch`, []);
    expect([response.status, response.headers['retry-after']]).toEqual([503, '8']);
    expect(response.json).toMatchObject({ detail: 'the relay is stopping' });
    expect(response.headers.connection).toBe('close');
    expect(server.accepted).toEqual([]);
  });
});

describe('an internal error', () => {
  it('responds 500 without details and logs the error with the request id', async () => {
    const failure = new Error('disk is on fire at /dev/sda');
    const reject = () => Promise.reject(failure);
    const server = await startServer({ accept: { one: reject, many: reject } });
    const response = await server.post('/v1/events', {}, { 'x-request-id': 'r-1' });
    expect([response.status, problemOf(response)]).toEqual([500, 'internal']);
    expect(response.text).not.toContain('disk');
    expect(server.logged.find(({ err }) => err !== undefined)).toMatchObject({
      requestId: 'r-1',
      err: { message: failure.message },
    });
  });
});
