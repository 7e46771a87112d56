import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { systemClock } from '../../src/clock.js';
import { problemSchema } from '../../src/http/plugins/problems.js';
import {
  adminKey,
  createGate,
  ingestKey,
  metricValue,
  problemOf,
  startServer,
  acceptedOne,
} from './harness.js';

const head = 'POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n';
const whole = `${head}Content-Length: 2\r\n\r\n{}`;

/** Status and problem of a raw answer; the rest of it must be well-formed. */
function parseRaw(response: string): { status: number; body: z.output<typeof problemSchema> } {
  const [headers = '', body = ''] = response.split('\r\n\r\n');
  const length = /^content-length: (\d+)$/im.exec(headers)?.[1];
  expect(Number(length)).toBe(Buffer.byteLength(body));
  expect(headers).toMatch(/^content-type: application\/problem\+json/im);
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(headers)?.[1]),
    body: problemSchema.parse(JSON.parse(body)),
  };
}

describe('a slow caller', () => {
  it('gets 408 if its body takes too long, even if bytes keep arriving', async () => {
    const config = { REQUEST_TIMEOUT_MS: 100, BODY_LIMIT_BYTES: 100_000_000 };
    const server = await startServer({ config });
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`${head}Content-Length: 100000000\r\n\r\n`);
    // A byte a millisecond: the connection is never idle, and the server has turns for its own timers.
    const drip = (): void => {
      if (socket.writable) socket.write('a', () => systemClock.setTimer(1, drip));
    };
    drip();
    // Its own writes fail once it is cut off; what came before that is the answer.
    let response = '';
    socket.setEncoding('utf8').on('data', (part: string) => (response += part));
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
    expect(parseRaw(response)).toEqual({
      status: 408,
      body: {
        type: 'urn:klaviyo-relay:problem:timeout',
        title: 'The request took too long to arrive',
        status: 408,
        detail: 'the request did not arrive in full within its time limit',
      },
    });
    expect(server.accepted).toEqual([]);
    const labels = { route: 'unmatched', status: '408' };
    expect(await metricValue(server.metrics, 'relay_http_requests_total', labels)).toBe(1);
  });

  it('gets 408 if its headers take too long', async () => {
    const server = await startServer({ config: { HEADERS_TIMEOUT_MS: 100 } });
    const response = await server.raw('POST /v1/events HTTP/1.1\r\nHost: 127.');
    expect(parseRaw(response).status).toBe(408);
  });

  it('does not delay other callers, and its request ends when it disconnects', async () => {
    const server = await startServer({ config: { REQUEST_TIMEOUT_MS: 100 } });
    const stalled = server.raw(`${head}Content-Length: 1000\r\n\r\n{`);
    expect((await server.post('/v1/events', {})).status).toBe(202);
    expect(parseRaw(await stalled).status).toBe(408);
  });

  it('still gets the response to its first request if its second one is too slow', async () => {
    const timedOut = createGate();
    const server = await startServer({
      config: { REQUEST_TIMEOUT_MS: 100 },
      accept: {
        one: () => timedOut.opened.then(() => acceptedOne),
        many: () => Promise.reject(new Error('not called')),
      },
    });
    const stalling = `${head}Content-Length: 1000\r\n\r\n{`;
    const response = server.raw(whole + stalling);
    // This request is sent later, so the other one has also exceeded its time when this one has.
    expect(parseRaw(await server.raw(stalling)).status).toBe(408);
    timedOut.open();
    expect((await response).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 202']);
  });
});

describe('a request that is not valid HTTP', () => {
  it.each([
    ['nonsense', 'nonsense\r\n\r\n', 400],
    ['a bad header', 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: 1\r\n\r\n', 400],
    ['no Host', 'GET /livez HTTP/1.1\r\n\r\n', 400],
    ['two lengths', `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    ['length and chunks', `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`, 400],
  ])('gets a 4xx and the connection is closed: %s', async (_what, bytes, status) => {
    const server = await startServer();
    const response = await server.raw(bytes);
    expect(response).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(server.accepted).toEqual([]);
    expect((await server.call('GET', '/livez')).status).toBe(200);
  });

  it('gets a problem as its response', async () => {
    const server = await startServer();
    expect(parseRaw(await server.raw('nonsense\r\n\r\n')).body).toMatchObject({
      type: 'urn:klaviyo-relay:problem:invalid',
      detail: 'the request is not valid HTTP/1.1',
    });
  });

  it('does not suppress the response to the request before it', async () => {
    const server = await startServer();
    const response = await server.raw(`${whole}nonsense\r\n\r\n`);
    expect(response.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 202']);
    expect(server.accepted).toHaveLength(1);
  });

  it('gets 431 if its headers exceed 16 KB', async () => {
    const server = await startServer();
    const response = await server.raw(
      `GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`,
    );
    expect(parseRaw(response)).toMatchObject({
      status: 431,
      body: { type: 'urn:klaviyo-relay:problem:headers-too-large' },
    });
  });
});

describe('pipelined requests', () => {
  it('get their responses in order', async () => {
    const server = await startServer();
    const last = 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n';
    const responses = await server.raw(whole + whole.replace('/v1/events', '/v1/nothing') + last);
    expect(responses.match(/HTTP\/1\.1 \d+/g)).toEqual([
      'HTTP/1.1 202',
      'HTTP/1.1 404',
      'HTTP/1.1 200',
    ]);
  });
});

describe('a quota of 2 requests a second', () => {
  const config = {
    INGEST_RATE_LIMIT_PER_SECOND: 2,
    RELAY_API_KEYS: [ingestKey, 'ingest-key-2'],
    RELAY_ADMIN_KEYS: [adminKey],
  };
  const as = (key: string) => ({ 'x-api-key': key });

  it('rejects the third request with 429 and Retry-After, and accepts it after that time', async () => {
    const server = await startServer({ config });
    const post = (path = '/v1/events') => server.post(path, {}, as(ingestKey));
    expect((await post()).status).toBe(202);
    expect((await post('/v1/profiles/batch')).status).toBe(202);
    const response = await post();
    expect([response.status, problemOf(response)]).toEqual([429, 'over-quota']);
    expect(response.json).toMatchObject({ detail: 'each caller may send 2 requests a second' });
    expect(response.headers['retry-after']).toBe('1');
    expect(server.accepted).toHaveLength(2);
    await server.clock.advance(1000);
    expect((await post()).status).toBe(202);
  });

  it('counts each key separately', async () => {
    const server = await startServer({ config });
    for (const key of [ingestKey, ingestKey, 'ingest-key-2', 'ingest-key-2', adminKey]) {
      expect((await server.post('/v1/events', {}, as(key))).status).toBe(202);
    }
    expect((await server.post('/v1/events', {}, as('ingest-key-2'))).status).toBe(429);
  });

  it('does not count requests with a wrong key', async () => {
    const server = await startServer({ config });
    for (let count = 0; count < 5; count++) {
      expect((await server.post('/v1/events', {}, as('wrong-key-00'))).status).toBe(401);
    }
    expect((await server.post('/v1/events', {}, as(ingestKey))).status).toBe(202);
  });

  it('does not apply to other routes', async () => {
    const server = await startServer({ config });
    for (let count = 0; count < 5; count++) {
      const headers = as(adminKey);
      expect((await server.call('GET', '/v1/deliveries', { headers })).status).toBe(200);
      expect((await server.call('GET', '/livez')).status).toBe(200);
    }
  });

  it('counts by address if no keys are configured', async () => {
    const server = await startServer({ config: { INGEST_RATE_LIMIT_PER_SECOND: 1 } });
    expect((await server.post('/v1/events', {})).status).toBe(202);
    expect((await server.post('/v1/events', {})).status).toBe(429);
  });

  it.each([
    ['true', true, ['192.0.2.1', '192.0.2.2'], [202, 202]],
    ['false', false, ['192.0.2.1', '192.0.2.2'], [202, 429]],
    ['one proxy', 1, ['192.0.2.1', '192.0.2.2'], [202, 202]],
    [
      'one proxy, whatever callers add',
      1,
      ['1.1.1.1, 192.0.2.1', '2.2.2.2, 192.0.2.1'],
      [202, 429],
    ],
    ['two proxies', 2, ['192.0.2.1, 10.0.0.1', '192.0.2.2, 10.0.0.1'], [202, 202]],
    ['the address of the proxy', ['127.0.0.1'], ['192.0.2.1', '192.0.2.2'], [202, 202]],
    ['its network', ['loopback'], ['1.1.1.1, 192.0.2.1', '2.2.2.2, 192.0.2.1'], [202, 429]],
    ['another network', ['10.0.0.0/8'], ['192.0.2.1', '192.0.2.2'], [202, 429]],
  ])(
    'counts by the address in X-Forwarded-For that TRUST_PROXY selects: %s',
    async (_what, TRUST_PROXY, sent, expected) => {
      const config = { INGEST_RATE_LIMIT_PER_SECOND: 1, TRUST_PROXY };
      const server = await startServer({ config });
      const statuses: number[] = [];
      for (const from of sent) {
        statuses.push((await server.post('/v1/events', {}, { 'x-forwarded-for': from })).status);
      }
      expect(statuses).toEqual(expected);
    },
  );
});

describe('closing the server', () => {
  it('lets a request in flight finish', async () => {
    const requested = createGate();
    const response = createGate();
    const server = await startServer({
      accept: {
        one: async () => {
          requested.open();
          await response.opened;
          return acceptedOne;
        },
        many: () => Promise.reject(new Error('not called')),
      },
    });
    const socket = connect(server.port, '127.0.0.1');
    socket.write(whole);
    await requested.opened;
    const closed = server.close();
    response.open();
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 202 /);
    await closed;
    const late = connect(server.port, '127.0.0.1');
    await expect(once(late, 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
