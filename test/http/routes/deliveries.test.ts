import { describe, expect, it } from 'vitest';
import type { HttpViews } from '../../../src/http/deps.js';
import type { Delivery, DeliveryFilter } from '../../../src/model/delivery.js';
import type { PageQuery } from '../../../src/model/store.js';
import { startServer } from '../harness.js';

const reason = { code: 'rejected', detail: 'Invalid phone', status: 400, faults: [] };
const at = Date.UTC(2026, 0, 15, 12);

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

describe('GET /v1/deliveries', () => {
  const createListing = () => {
    const calls: [DeliveryFilter, PageQuery][] = [];
    const deliveries: HttpViews['deliveries'] = (filter, page) => {
      calls.push([filter, page]);
      return Promise.resolve({ data: [delivery], next: 'c2' });
    };
    return { calls, deliveries };
  };

  const deliveryBody = {
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

  it('lists 100 deliveries by default, with the cursor of the next page', async () => {
    const { calls, deliveries } = createListing();
    const server = await startServer({ views: { deliveries } });
    const response = await server.call('GET', '/v1/deliveries');
    expect(response.json).toEqual({ data: [deliveryBody], next: 'c2' });
    expect(calls).toEqual([[{}, { limit: 100, cursor: undefined }]]);
  });

  it('passes filter, limit and cursor to the store', async () => {
    const { calls, deliveries } = createListing();
    const server = await startServer({ views: { deliveries } });
    const since = '2026-01-15T13:00:00%2B01:00';
    const query = `lane=profiles&result=partial&since=${since}&until=2026-01-15T12:00:01Z&limit=7&cursor=c1`;
    expect((await server.call('GET', `/v1/deliveries?${query}`)).status).toBe(200);
    expect(calls).toEqual([
      [
        { lane: 'profiles', result: 'partial', since: at, until: at + 1000 },
        { limit: 7, cursor: 'c1' },
      ],
    ]);
  });

  it('shows one by its id', async () => {
    const server = await startServer({ views: { delivery: () => Promise.resolve(delivery) } });
    expect((await server.call('GET', '/v1/deliveries/d1')).json).toEqual(deliveryBody);
  });

  it('shows null for the status if there was no response', async () => {
    const withoutResponse = { ...delivery, status: null, reason: null, importJob: null };
    const server = await startServer({
      views: { delivery: () => Promise.resolve(withoutResponse) },
    });
    const { json } = await server.call('GET', '/v1/deliveries/d1');
    expect(json).toMatchObject({ status: null, reason: null, import_job: null });
  });
});
