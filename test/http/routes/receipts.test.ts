import { describe, expect, it } from 'vitest';
import type { Receipt } from '../../../src/model/store.js';
import { startServer } from '../harness.js';

const receipt: Receipt = {
  id: 'e1',
  lane: 'events',
  state: 'dead_lettered',
  deliveryId: 'd1',
  reason: { code: 'too_old', detail: 'gave up' },
  merged: false,
};

describe('GET /v1/receipts/{id}', () => {
  it('responds with the state of the envelope', async () => {
    const calls: string[] = [];
    const server = await startServer({
      views: {
        receipt: (id) => {
          calls.push(id);
          return Promise.resolve(receipt);
        },
      },
    });
    const response = await server.call('GET', '/v1/receipts/e%201');
    expect(response.status).toBe(200);
    expect(response.json).toEqual({
      id: 'e1',
      lane: 'events',
      state: 'dead_lettered',
      delivery_id: 'd1',
      merged: false,
      reason: { code: 'too_old', detail: 'gave up', status: null, faults: [] },
    });
    expect(calls).toEqual(['e 1']);
  });
});
