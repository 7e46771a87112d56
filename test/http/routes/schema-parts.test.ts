import { describe, expect, it } from 'vitest';
import { problemOf, startServer } from '../harness.js';

describe('a lookup by id', () => {
  it.each(['/v1/receipts/e1', '/v1/deliveries/d1', '/v1/dead-letters/e1'])(
    'responds 404 to GET %s with an unknown id',
    async (path) => {
      const server = await startServer();
      const response = await server.call('GET', path);
      expect([response.status, problemOf(response)]).toEqual([404, 'not-found']);
    },
  );
});

describe.each(['/v1/deliveries', '/v1/dead-letters'])('GET %s', (path) => {
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
  ])('rejects the query ?%s with a pointer to the parameter', async (query, pointer) => {
    const server = await startServer();
    const response = await server.call('GET', `${path}?${query}`);
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    expect(response.json).toMatchObject({ errors: [{ pointer }] });
  });
});
