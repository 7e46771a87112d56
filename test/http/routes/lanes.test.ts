import { describe, expect, it } from 'vitest';
import { startServer } from '../harness.js';

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

  it.each(['pause', 'resume'])('rejects %s of an unknown lane', async (what) => {
    const server = await startServer();
    expect((await server.call('POST', `/v1/lanes/orders/${what}`)).status).toBe(400);
  });
});

describe('POST /v1/flush', () => {
  it.each([
    ['', undefined],
    ['?lane=profiles', 'profiles'],
  ])('flushes the selected lanes with the query "%s"', async (query, lane) => {
    const flushed: unknown[] = [];
    const server = await startServer({ flush: (each) => flushed.push(each) });
    const response = await server.call('POST', `/v1/flush${query}`);
    expect([response.status, response.json]).toEqual([202, { status: 'flushing' }]);
    expect(flushed).toEqual([lane]);
  });

  it('accepts a content type without a body', async () => {
    const server = await startServer();
    for (const type of ['application/json', 'application/x-www-form-urlencoded']) {
      const headers = { 'content-type': type, 'content-length': '0' };
      expect((await server.call('POST', '/v1/flush', { headers })).status).toBe(202);
    }
  });

  it('rejects an unknown lane', async () => {
    const server = await startServer();
    expect((await server.call('POST', '/v1/flush?lane=orders')).status).toBe(400);
  });
});
