import { describe, expect, it } from 'vitest';
import type { HttpViews } from '../../../src/http/deps.js';
import type { DeadLetter, DeadLetterFilter } from '../../../src/model/dead-letter.js';
import type { PageQuery } from '../../../src/model/store.js';
import { problemOf, startServer } from '../harness.js';

const reason = { code: 'rejected', detail: 'Invalid phone', status: 400, faults: [] };
const at = Date.UTC(2026, 0, 15, 12);

const deadLetter: DeadLetter = {
  id: 'e1',
  lane: 'events',
  acceptedAt: at,
  deadLetteredAt: at + 1500,
  attempts: 3,
  reason,
  deliveryId: 'd1',
  payload: Buffer.from('{"type":"event","properties":{"id":12345678901234567890,"s":"👟"}}'),
};

const deadLetterBody = {
  id: 'e1',
  lane: 'events',
  accepted_at: '2026-01-15T12:00:00.000Z',
  buried_at: '2026-01-15T12:00:01.500Z',
  attempts: 3,
  delivery_id: 'd1',
  reason,
};

describe('GET /v1/dead-letters', () => {
  it('shows the payload exactly as stored, with every digit', async () => {
    const calls: [DeadLetterFilter, PageQuery][] = [];
    const server = await startServer({
      views: {
        deadLetters: (filter, page) => {
          calls.push([filter, page]);
          return Promise.resolve({ data: [deadLetter, { ...deadLetter, id: 'e2' }], next: null });
        },
      },
    });
    const response = await server.call(
      'GET',
      '/v1/dead-letters?lane=events&reason=rejected&limit=2',
    );
    expect(response.status).toBe(200);
    expect(response.headers['content-type']).toMatch(/^application\/json/);
    expect(response.text).toContain(`"payload":${Buffer.from(deadLetter.payload).toString()}}`);
    expect(response.json).toMatchObject({
      data: [deadLetterBody, { ...deadLetterBody, id: 'e2' }],
      next: null,
    });
    expect(calls).toEqual([
      [
        { lane: 'events', reason: 'rejected' },
        { limit: 2, cursor: undefined },
      ],
    ]);
  });

  it('shows one by its id', async () => {
    const server = await startServer({ views: { deadLetter: () => Promise.resolve(deadLetter) } });
    const response = await server.call('GET', '/v1/dead-letters/e1');
    expect(response.json).toMatchObject(deadLetterBody);
    expect(response.text).toContain('12345678901234567890');
  });

  it('shows a payload that is a part of a larger buffer', async () => {
    const payload = Buffer.from('xx{"a":1}yy').subarray(2, 9);
    const withPayload = { ...deadLetter, payload };
    const server = await startServer({ views: { deadLetter: () => Promise.resolve(withPayload) } });
    const response = await server.call('GET', '/v1/dead-letters/e1');
    expect(response.json).toMatchObject({ payload: { a: 1 } });
  });
});

const createViews = (count: number) => {
  const calls: [string, DeadLetterFilter, { dryRun: boolean }][] = [];
  const views: Pick<HttpViews, 'redrive' | 'discard'> = {
    redrive: (filter, options) => {
      calls.push(['redrive', filter, options]);
      return Promise.resolve({
        matched: count,
        redriven: options.dryRun ? 0 : count,
        backpressure: null,
      });
    },
    discard: (filter, options) => {
      calls.push(['discard', filter, options]);
      return Promise.resolve(count);
    },
  };
  return { calls, views };
};

describe('POST /v1/dead-letters/redrive', () => {
  it('redrives the dead letters that match the filter', async () => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views });
    const filter = {
      lane: 'events',
      reason: 'rejected',
      ids: ['e1'],
      since: '2026-01-15T12:00:00Z',
      until: '2026-01-15T12:00:01Z',
    };
    const response = await server.post('/v1/dead-letters/redrive', { filter });
    expect(response.json).toEqual({ matched: 3, redriven: 3, dry_run: false });
    expect(calls).toEqual([
      ['redrive', { ...filter, since: at, until: at + 1000 }, { dryRun: false }],
    ]);
  });

  it('only counts the matches in a dry run', async () => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views });
    const response = await server.post('/v1/dead-letters/redrive', { filter: {}, dry_run: true });
    expect(response.json).toEqual({ matched: 3, redriven: 0, dry_run: true });
    expect(calls).toEqual([['redrive', {}, { dryRun: true }]]);
  });

  it.each([
    ['a body without a filter', {}, '/filter'],
    ['a filter that is not an object', { filter: 'all' }, '/filter'],
    ['a misspelt filter', { filter: { laen: 'events' } }, '/filter'],
    ['an unknown lane', { filter: { lane: 'orders' } }, '/filter/lane'],
    ['a dry_run that is not a boolean', { filter: {}, dry_run: 'yes' }, '/dry_run'],
    ['a misspelt dry_run', { filter: {}, dryRun: true }, ''],
    ['a body that is a list', [], ''],
  ])('rejects %s and redrives nothing', async (_what, body, pointer) => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views });
    const response = await server.post('/v1/dead-letters/redrive', body);
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    expect(response.json).toMatchObject({ detail: 'the body is not valid', errors: [{ pointer }] });
    expect(calls).toEqual([]);
  });

  const ids = (count: number): string =>
    Array.from({ length: count }, (_, index) => `"e${index}"`).join(',');

  it.each([
    ['more than 10,000 ids', `{"filter":{"ids":[${ids(10_001)}]}}`, '/filter/ids'],
    [
      'a filter with tens of thousands of members',
      `{"filter":{${ids(60_000).replaceAll(',', ':1,')}:1}}`,
      '/filter',
    ],
    ['a filter that is given twice', '{"filter":{"ids":["e1"]},"filter":{}}', '/filter'],
    ['deeply nested lists', `{"filter":${'['.repeat(400_000)}${']'.repeat(400_000)}}`, undefined],
  ])('rejects %s and redrives nothing', async (_what, body, pointer) => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views, config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const headers = { 'content-type': 'application/json' };
    const response = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    if (pointer !== undefined) expect(response.json).toMatchObject({ errors: [{ pointer }] });
    expect(calls).toEqual([]);
  });

  it('accepts 10,000 ids', async () => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views, config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const headers = { 'content-type': 'application/json' };
    const body = `{"filter":{"ids":[${ids(10_000)}]}}`;
    const response = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect(response.status).toBe(200);
    expect(calls).toMatchObject([['redrive', { ids: { length: 10_000 } }, { dryRun: false }]]);
  });

  it('rejects a body of more than a megabyte before it is parsed', async () => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views, config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const headers = { 'content-type': 'application/json' };
    const body = ' '.repeat(1_000_001);
    const response = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect([response.status, problemOf(response)]).toEqual([413, 'too-large']);
    expect(calls).toEqual([]);
  });

  it.each(['', '{', 'null'])('rejects the body "%s"', async (body) => {
    const { calls, views } = createViews(3);
    const server = await startServer({ views });
    const headers = { 'content-type': 'application/json' };
    const response = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    expect(calls).toEqual([]);
  });
});

describe('DELETE /v1/dead-letters', () => {
  it('discards the dead letters that match the filter', async () => {
    const { calls, views } = createViews(2);
    const server = await startServer({ views });
    const query = 'lane=events&reason=rejected&ids=e1,e2&since=2026-01-15T12:00:00Z';
    const response = await server.call('DELETE', `/v1/dead-letters?${query}`);
    expect(response.json).toEqual({ matched: 2, discarded: 2, dry_run: false });
    const filter = { lane: 'events', reason: 'rejected', ids: ['e1', 'e2'], since: at };
    expect(calls).toEqual([['discard', filter, { dryRun: false }]]);
  });

  it('only counts the matches in a dry run', async () => {
    const { calls, views } = createViews(2);
    const server = await startServer({ views });
    const response = await server.call('DELETE', '/v1/dead-letters?lane=events&dry_run=true');
    expect(response.json).toEqual({ matched: 2, discarded: 0, dry_run: true });
    expect(calls).toEqual([['discard', { lane: 'events' }, { dryRun: true }]]);
  });

  it('discards all dead letters with all=true', async () => {
    const { calls, views } = createViews(9);
    const server = await startServer({ views });
    expect((await server.call('DELETE', '/v1/dead-letters?all=true')).status).toBe(200);
    expect(calls).toEqual([['discard', {}, { dryRun: false }]]);
  });

  it.each(['', '?dry_run=true', '?all=false', '?all=true&lane=events', '?lanes=events', '?all=1'])(
    'rejects the query "%s" and discards nothing',
    async (query) => {
      const { calls, views } = createViews(9);
      const server = await startServer({ views });
      const response = await server.call('DELETE', `/v1/dead-letters${query}`);
      expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
      expect(calls).toEqual([]);
    },
  );
});

describe('a single dead letter', () => {
  it('is redriven by POST /v1/dead-letters/{id}/redrive', async () => {
    const { calls, views } = createViews(1);
    const server = await startServer({ views });
    const response = await server.call('POST', '/v1/dead-letters/e1/redrive');
    expect(response.json).toEqual({ matched: 1, redriven: 1, dry_run: false });
    expect(calls).toEqual([['redrive', { ids: ['e1'] }, { dryRun: false }]]);
  });

  it('is discarded by DELETE /v1/dead-letters/{id}', async () => {
    const { calls, views } = createViews(1);
    const server = await startServer({ views });
    const response = await server.call('DELETE', '/v1/dead-letters/e1');
    expect([response.status, response.text]).toEqual([204, '']);
    expect(calls).toEqual([['discard', { ids: ['e1'] }, { dryRun: false }]]);
  });

  it('is a 404 for redrive and discard if its id is unknown', async () => {
    const server = await startServer();
    expect((await server.call('POST', '/v1/dead-letters/e1/redrive')).status).toBe(404);
    expect((await server.call('DELETE', '/v1/dead-letters/e1')).status).toBe(404);
  });
});
