import { describe, expect, it } from 'vitest';
import type { DeadLetter, DeadLetterFilter } from '../../../src/model/dead-letter.js';
import type { Delivery, DeliveryFilter } from '../../../src/model/delivery.js';
import type { PageQuery } from '../../../src/model/store.js';
import type { Receipt } from '../../../src/model/store.js';
import type { HttpViews } from '../../../src/http/deps.js';
import { problemOf, startServer } from '../harness.js';

const reason = { code: 'rejected', detail: 'Invalid phone', status: 400, faults: [] };
const at = Date.UTC(2026, 0, 15, 12);

const receipt: Receipt = {
  id: 'e1',
  lane: 'events',
  state: 'dead_lettered',
  deliveryId: 'd1',
  reason: { code: 'too_old', detail: 'gave up' },
  merged: false,
};

const delivery: Delivery = {
  id: 'd1',
  lane: 'profiles',
  trigger: 'time',
  at,
  durationMs: 12.5,
  count: 4,
  bytes: 1000,
  status: 202,
  attempt: 2,
  result: 'partial',
  delivered: 2,
  merged: 1,
  retried: 0,
  deadLettered: 1,
  reason: { ...reason, faults: [{ pointer: '/data/0', detail: 'Invalid phone' }] },
  importJob: { id: 'j1', status: 'complete', completed: 3, failed: 1 },
};

const letter: DeadLetter = {
  id: 'e1',
  lane: 'events',
  acceptedAt: at,
  deadLetteredAt: at + 1500,
  attempts: 3,
  reason,
  deliveryId: 'd1',
  payload: Buffer.from('{"type":"event","properties":{"id":12345678901234567890,"s":"👟"}}'),
};

const letterView = {
  id: 'e1',
  lane: 'events',
  accepted_at: '2026-01-15T12:00:00.000Z',
  buried_at: '2026-01-15T12:00:01.500Z',
  attempts: 3,
  delivery_id: 'd1',
  reason,
};

describe('GET /v1/receipts/{id}', () => {
  it('says where the envelope is', async () => {
    const asked: string[] = [];
    const server = await startServer({
      views: {
        receipt: (id) => {
          asked.push(id);
          return Promise.resolve(receipt);
        },
      },
    });
    const answer = await server.call('GET', '/v1/receipts/e%201');
    expect(answer.status).toBe(200);
    expect(answer.json).toEqual({
      id: 'e1',
      lane: 'events',
      state: 'dead_lettered',
      delivery_id: 'd1',
      merged: false,
      reason: { code: 'too_old', detail: 'gave up', status: null, faults: [] },
    });
    expect(asked).toEqual(['e 1']);
  });

  it.each(['/v1/receipts/e1', '/v1/deliveries/d1', '/v1/dead-letters/e1'])(
    'GET %s answers 404 for an id nobody knows',
    async (path) => {
      const server = await startServer();
      const answer = await server.call('GET', path);
      expect([answer.status, problemOf(answer)]).toEqual([404, 'not-found']);
    },
  );
});

describe('GET /v1/deliveries', () => {
  const listing = () => {
    const asked: [DeliveryFilter, PageQuery][] = [];
    const deliveries: HttpViews['deliveries'] = (filter, page) => {
      asked.push([filter, page]);
      return Promise.resolve({ data: [delivery], next: 'c2' });
    };
    return { asked, deliveries };
  };

  const view = {
    id: 'd1',
    lane: 'profiles',
    trigger: 'time',
    at: '2026-01-15T12:00:00.000Z',
    duration_ms: 12.5,
    count: 4,
    bytes: 1000,
    status: 202,
    attempt: 2,
    result: 'partial',
    delivered: 2,
    merged: 1,
    retried: 0,
    dead_lettered: 1,
    backfilled: 0,
    reason: { ...reason, faults: [{ pointer: '/data/0', detail: 'Invalid phone' }] },
    import_job: { id: 'j1', status: 'complete', completed: 3, failed: 1 },
  };

  it('lists the newest 100 with a cursor', async () => {
    const { asked, deliveries } = listing();
    const server = await startServer({ views: { deliveries } });
    const answer = await server.call('GET', '/v1/deliveries');
    expect(answer.json).toEqual({ data: [view], next: 'c2' });
    expect(asked).toEqual([[{}, { limit: 100, cursor: undefined }]]);
  });

  it('passes filter, limit and cursor on', async () => {
    const { asked, deliveries } = listing();
    const server = await startServer({ views: { deliveries } });
    const since = '2026-01-15T13:00:00%2B01:00';
    const query = `lane=profiles&result=partial&since=${since}&until=2026-01-15T12:00:01Z&limit=7&cursor=c1`;
    expect((await server.call('GET', `/v1/deliveries?${query}`)).status).toBe(200);
    expect(asked).toEqual([
      [
        { lane: 'profiles', result: 'partial', since: at, until: at + 1000 },
        { limit: 7, cursor: 'c1' },
      ],
    ]);
  });

  it('shows one by its id', async () => {
    const server = await startServer({ views: { delivery: () => Promise.resolve(delivery) } });
    expect((await server.call('GET', '/v1/deliveries/d1')).json).toEqual(view);
  });

  it('shows null where no answer came', async () => {
    const unanswered = { ...delivery, status: null, reason: null, importJob: null };
    const server = await startServer({ views: { delivery: () => Promise.resolve(unanswered) } });
    const { json } = await server.call('GET', '/v1/deliveries/d1');
    expect(json).toMatchObject({ status: null, reason: null, import_job: null });
  });
});

describe.each(['/v1/deliveries', '/v1/dead-letters'])('the query of GET %s', (path) => {
  it.each([
    ['limit=0', '/limit'],
    ['limit=1001', '/limit'],
    ['limit=ten', '/limit'],
    ['limit=1.5', '/limit'],
    ['cursor=%00', '/cursor'],
    ['lane=orders', '/lane'],
    ['since=yesterday', '/since'],
    ['since=2026-01-15T12:00:00', '/since'],
    ['until=1768478400', '/until'],
    ['lanes=events', ''],
  ])('is refused with ?%s', async (query, pointer) => {
    const server = await startServer();
    const answer = await server.call('GET', `${path}?${query}`);
    expect([answer.status, problemOf(answer)]).toEqual([400, 'invalid']);
    expect(answer.json).toMatchObject({ errors: [{ pointer }] });
  });
});

describe('GET /v1/dead-letters', () => {
  it('shows the payload as it is, digit by digit', async () => {
    const asked: [DeadLetterFilter, PageQuery][] = [];
    const server = await startServer({
      views: {
        deadLetters: (filter, page) => {
          asked.push([filter, page]);
          return Promise.resolve({ data: [letter, { ...letter, id: 'e2' }], next: null });
        },
      },
    });
    const answer = await server.call('GET', '/v1/dead-letters?lane=events&reason=rejected&limit=2');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(answer.text).toContain(`"payload":${Buffer.from(letter.payload).toString()}}`);
    expect(answer.json).toMatchObject({
      data: [letterView, { ...letterView, id: 'e2' }],
      next: null,
    });
    expect(asked).toEqual([
      [
        { lane: 'events', reason: 'rejected' },
        { limit: 2, cursor: undefined },
      ],
    ]);
  });

  it('shows one by its id', async () => {
    const server = await startServer({ views: { deadLetter: () => Promise.resolve(letter) } });
    const answer = await server.call('GET', '/v1/dead-letters/e1');
    expect(answer.json).toMatchObject(letterView);
    expect(answer.text).toContain('12345678901234567890');
  });

  it('reads a payload that is a part of a larger buffer', async () => {
    const payload = Buffer.from('xx{"a":1}yy').subarray(2, 9);
    const deadLetter = () => Promise.resolve({ ...letter, payload });
    const server = await startServer({ views: { deadLetter } });
    const answer = await server.call('GET', '/v1/dead-letters/e1');
    expect(answer.json).toMatchObject({ payload: { a: 1 } });
  });
});

const deciding = (count: number) => {
  const decided: [string, DeadLetterFilter, { dryRun: boolean }][] = [];
  const views: Pick<HttpViews, 'redrive' | 'discard'> = {
    redrive: (filter, options) => {
      decided.push(['redrive', filter, options]);
      return Promise.resolve({
        matched: count,
        redriven: options.dryRun ? 0 : count,
        backpressure: null,
      });
    },
    discard: (filter, options) => {
      decided.push(['discard', filter, options]);
      return Promise.resolve(count);
    },
  };
  return { decided, views };
};

describe('POST /v1/dead-letters/redrive', () => {
  it('sends again what the filter matches', async () => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views });
    const filter = {
      lane: 'events',
      reason: 'rejected',
      ids: ['e1'],
      since: '2026-01-15T12:00:00Z',
      until: '2026-01-15T12:00:01Z',
    };
    const answer = await server.post('/v1/dead-letters/redrive', { filter });
    expect(answer.json).toEqual({ matched: 3, redriven: 3, dry_run: false });
    expect(decided).toEqual([
      ['redrive', { ...filter, since: at, until: at + 1000 }, { dryRun: false }],
    ]);
  });

  it('only counts in a dry run', async () => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views });
    const answer = await server.post('/v1/dead-letters/redrive', { filter: {}, dry_run: true });
    expect(answer.json).toEqual({ matched: 3, redriven: 0, dry_run: true });
    expect(decided).toEqual([['redrive', {}, { dryRun: true }]]);
  });

  it.each([
    ['no filter', {}, '/filter'],
    ['a filter that is none', { filter: 'all' }, '/filter'],
    ['a misspelt filter', { filter: { laen: 'events' } }, '/filter'],
    ['an unknown lane', { filter: { lane: 'orders' } }, '/filter/lane'],
    ['a dry run that is none', { filter: {}, dry_run: 'yes' }, '/dry_run'],
    ['a misspelt dry run', { filter: {}, dryRun: true }, ''],
    ['a list', [], ''],
  ])('refuses %s, and sends nothing', async (_what, body, pointer) => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views });
    const answer = await server.post('/v1/dead-letters/redrive', body);
    expect([answer.status, problemOf(answer)]).toEqual([400, 'invalid']);
    expect(answer.json).toMatchObject({ detail: 'the body is not valid', errors: [{ pointer }] });
    expect(decided).toEqual([]);
  });

  const ids = (count: number): string =>
    Array.from({ length: count }, (_, index) => `"e${index}"`).join(',');

  it.each([
    ['more ids than one request may name', `{"filter":{"ids":[${ids(10_001)}]}}`, '/filter/ids'],
    [
      'tens of thousands of names',
      `{"filter":{${ids(60_000).replaceAll(',', ':1,')}:1}}`,
      '/filter',
    ],
    ['a filter that is given twice', '{"filter":{"ids":["e1"]},"filter":{}}', '/filter'],
    ['lists in lists', `{"filter":${'['.repeat(400_000)}${']'.repeat(400_000)}}`, undefined],
  ])('refuses %s, and sends nothing', async (_what, body, pointer) => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views, config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const headers = { 'content-type': 'application/json' };
    const answer = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect([answer.status, problemOf(answer)]).toEqual([400, 'invalid']);
    if (pointer !== undefined) expect(answer.json).toMatchObject({ errors: [{ pointer }] });
    expect(decided).toEqual([]);
  });

  it('takes 10,000 ids', async () => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views, config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const headers = { 'content-type': 'application/json' };
    const body = `{"filter":{"ids":[${ids(10_000)}]}}`;
    const answer = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect(answer.status).toBe(200);
    expect(decided).toMatchObject([['redrive', { ids: { length: 10_000 } }, { dryRun: false }]]);
  });

  it('refuses more than a megabyte unread', async () => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views, config: { BODY_LIMIT_BYTES: 5_000_000 } });
    const headers = { 'content-type': 'application/json' };
    const body = ' '.repeat(1_000_001);
    const answer = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect([answer.status, problemOf(answer)]).toEqual([413, 'too-large']);
    expect(decided).toEqual([]);
  });

  it.each(['', '{', 'null'])('refuses the body "%s"', async (body) => {
    const { decided, views } = deciding(3);
    const server = await startServer({ views });
    const headers = { 'content-type': 'application/json' };
    const answer = await server.call('POST', '/v1/dead-letters/redrive', { headers, body });
    expect([answer.status, problemOf(answer)]).toEqual([400, 'invalid']);
    expect(decided).toEqual([]);
  });
});

describe('DELETE /v1/dead-letters', () => {
  it('discards what the filter matches', async () => {
    const { decided, views } = deciding(2);
    const server = await startServer({ views });
    const query = 'lane=events&reason=rejected&ids=e1,e2&since=2026-01-15T12:00:00Z';
    const answer = await server.call('DELETE', `/v1/dead-letters?${query}`);
    expect(answer.json).toEqual({ matched: 2, discarded: 2, dry_run: false });
    const filter = { lane: 'events', reason: 'rejected', ids: ['e1', 'e2'], since: at };
    expect(decided).toEqual([['discard', filter, { dryRun: false }]]);
  });

  it('only counts in a dry run', async () => {
    const { decided, views } = deciding(2);
    const server = await startServer({ views });
    const answer = await server.call('DELETE', '/v1/dead-letters?lane=events&dry_run=true');
    expect(answer.json).toEqual({ matched: 2, discarded: 0, dry_run: true });
    expect(decided).toEqual([['discard', { lane: 'events' }, { dryRun: true }]]);
  });

  it('discards everything with all=true', async () => {
    const { decided, views } = deciding(9);
    const server = await startServer({ views });
    expect((await server.call('DELETE', '/v1/dead-letters?all=true')).status).toBe(200);
    expect(decided).toEqual([['discard', {}, { dryRun: false }]]);
  });

  it.each(['', '?dry_run=true', '?all=false', '?all=true&lane=events', '?lanes=events', '?all=1'])(
    'refuses "%s", and discards nothing',
    async (query) => {
      const { decided, views } = deciding(9);
      const server = await startServer({ views });
      const answer = await server.call('DELETE', `/v1/dead-letters${query}`);
      expect([answer.status, problemOf(answer)]).toEqual([400, 'invalid']);
      expect(decided).toEqual([]);
    },
  );
});

describe('one dead letter', () => {
  it('is sent again', async () => {
    const { decided, views } = deciding(1);
    const server = await startServer({ views });
    const answer = await server.call('POST', '/v1/dead-letters/e1/redrive');
    expect(answer.json).toEqual({ matched: 1, redriven: 1, dry_run: false });
    expect(decided).toEqual([['redrive', { ids: ['e1'] }, { dryRun: false }]]);
  });

  it('is discarded', async () => {
    const { decided, views } = deciding(1);
    const server = await startServer({ views });
    const answer = await server.call('DELETE', '/v1/dead-letters/e1');
    expect([answer.status, answer.text]).toEqual([204, '']);
    expect(decided).toEqual([['discard', { ids: ['e1'] }, { dryRun: false }]]);
  });

  it('that is not there is a 404', async () => {
    const server = await startServer();
    expect((await server.call('POST', '/v1/dead-letters/e1/redrive')).status).toBe(404);
    expect((await server.call('DELETE', '/v1/dead-letters/e1')).status).toBe(404);
  });
});

describe('POST /v1/lanes/{lane}', () => {
  it.each(['events', 'profiles'] as const)('pauses and resumes %s', async (lane) => {
    const calls: string[] = [];
    const server = await startServer({
      pauseLane: (each) => void calls.push(`pause ${each}`),
      resumeLane: (each) => void calls.push(`resume ${each}`),
    });
    const paused = await server.call('POST', `/v1/lanes/${lane}/pause`);
    expect([paused.status, paused.json]).toEqual([202, { lane, status: 'paused' }]);
    const resumed = await server.call('POST', `/v1/lanes/${lane}/resume`);
    expect([resumed.status, resumed.json]).toEqual([202, { lane, status: 'resumed' }]);
    expect(calls).toEqual([`pause ${lane}`, `resume ${lane}`]);
  });

  it.each(['pause', 'resume'])('%s refuses an unknown lane', async (what) => {
    const server = await startServer();
    expect((await server.call('POST', `/v1/lanes/orders/${what}`)).status).toBe(400);
  });
});

describe('POST /v1/flush', () => {
  it.each([
    ['', undefined],
    ['?lane=profiles', 'profiles'],
  ])('%s flushes', async (query, lane) => {
    const flushed: unknown[] = [];
    const server = await startServer({ flush: (each) => flushed.push(each) });
    const answer = await server.call('POST', `/v1/flush${query}`);
    expect([answer.status, answer.json]).toEqual([202, { status: 'flushing' }]);
    expect(flushed).toEqual([lane]);
  });

  it('takes a content type without a body', async () => {
    const server = await startServer();
    for (const type of ['application/json', 'application/x-www-form-urlencoded']) {
      const headers = { 'content-type': type, 'content-length': '0' };
      expect((await server.call('POST', '/v1/flush', { headers })).status).toBe(202);
    }
  });

  it('refuses an unknown lane', async () => {
    const server = await startServer();
    expect((await server.call('POST', '/v1/flush?lane=orders')).status).toBe(400);
  });
});
