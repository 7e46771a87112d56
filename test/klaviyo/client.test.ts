import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { isBackfilled } from '../../src/model/backfill.js';
import type { SendResult } from '../../src/model/destination.js';
import { toEventText } from '../../src/ingest/map.js';
import type { KlaviyoClient, KlaviyoClientOptions } from '../../src/klaviyo/client.js';
import { settlePromises } from '../support/manual-clock.js';
import { aRevision } from '../support/revisions.js';
import {
  aClient,
  aPromise,
  respondJson,
  startSocketServer,
  startKlaviyoServer,
  toPayload,
  type KlaviyoServer,
} from './klaviyo-server.js';

/** What a test has opened, in order. It is closed in reverse. */
let open: { close(): Promise<void> }[] = [];
beforeEach(() => {
  open = [];
});
afterEach(async () => {
  for (const each of open.reverse()) await each.close();
});

const keep = <T extends { close(): Promise<void> }>(each: T): T => {
  open.push(each);
  return each;
};
const klaviyoServer = async (...args: Parameters<typeof startKlaviyoServer>) =>
  keep(await startKlaviyoServer(...args));
const socketServer = async (...args: Parameters<typeof startSocketServer>) =>
  keep(await startSocketServer(...args));
const clientOf = (url: string, overrides: Partial<KlaviyoClientOptions> = {}) => {
  const made = aClient(url, overrides);
  keep(made.client);
  return made;
};

const payloads = [toPayload({ n: 1 }), toPayload({ n: 2 })];
const anEventPayload = (backfill: boolean): Uint8Array => {
  const accepted = { identifiers: { externalId: 'c1' }, time: '2026-01-01T00:00:00Z' };
  return Buffer.from(toEventText({ event_name: 'e' }, { ...accepted, uniqueId: 'u', backfill }));
};
const kindsOf = ({ outcomes }: SendResult): readonly string[] => outcomes.map(({ kind }) => kind);
const codesOf = ({ outcomes }: SendResult): readonly (string | undefined)[] =>
  outcomes.map((outcome) => ('reason' in outcome ? outcome.reason.code : undefined));
/** Sends two payloads and expects both to be retryable for the same reason, without a complete response. */
async function expectRetryable(client: KlaviyoClient, code: string): Promise<SendResult> {
  const sent = await client.send('events', payloads);
  expect(kindsOf(sent)).toEqual(['retryable', 'retryable']);
  expect(codesOf(sent)).toEqual([code, code]);
  expect(sent.feedback).toBeNull();
  return sent;
}

describe('a request whose envelopes another relay may own', () => {
  /** More than the connection buffers, so that the client has to wait in the middle. */
  const large = [toPayload({ pad: 'x'.repeat(20_000_000) })];

  it('is sent completely while the envelopes are owned', async () => {
    const klaviyo = await klaviyoServer((response) => response.writeHead(202).end());
    const { client } = clientOf(klaviyo.url);
    const sent = await client.send('profiles', large, () => true);
    expect(sent).toMatchObject({ status: 202, bytes: klaviyo.requests[0]?.body.length });
    expect(sent.bytes).toBeGreaterThan(20_000_000);
  });

  it('is never completed once the envelopes are not owned, however much of it was sent', async () => {
    let received = 0;
    const begun = aPromise<Socket>();
    const klaviyo = await socketServer((socket) => {
      socket.once('data', (part: Buffer) => {
        received += part.length;
        socket.pause();
        begun.resolve(socket);
      });
    });
    const { client } = clientOf(klaviyo.url);
    let isHeld = true;
    const sending = client.send('profiles', large, () => isHeld);
    const socket = await begun.promise;
    isHeld = false;
    socket.on('data', (part: Buffer) => (received += part.length)).resume();
    const sent = await sending;
    expect(kindsOf(sent)).toEqual(['retryable']);
    expect(codesOf(sent)).toEqual(['lease']);
    await once(socket, 'close');
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(sent.bytes);
  });

  it('sends no byte of its body if the envelopes are not owned from the start, and the next request succeeds', async () => {
    const klaviyo = await klaviyoServer((response) => response.writeHead(202).end());
    const { client } = clientOf(klaviyo.url);
    expect(codesOf(await client.send('events', payloads, () => false))).toEqual(['lease', 'lease']);
    expect((await client.send('events', payloads, () => true)).status).toBe(202);
    expect(klaviyo.requests).toHaveLength(1);
  });
});

describe('a bulk request', () => {
  const requestTo = async (lane: 'events' | 'profiles', path = '') => {
    const klaviyo = await klaviyoServer((response) => response.writeHead(202).end());
    const { client } = clientOf(`${klaviyo.url}${path}`);
    const sent = await client.send(lane, payloads);
    return { seen: klaviyo.requests[0]!, sent };
  };

  it("has Klaviyo's headers and the body with its exact length", async () => {
    const { seen, sent } = await requestTo('events');
    expect(seen.method).toBe('POST');
    expect(seen.path).toBe('/api/event-bulk-create-jobs');
    expect(seen.headers).toMatchObject({
      authorization: 'Klaviyo-API-Key pk_test_key_1',
      revision: '2024-10-15',
      'content-type': 'application/vnd.api+json',
      accept: 'application/vnd.api+json',
      'user-agent': 'klaviyo-relay/1.2.3',
      'accept-encoding': 'identity',
      'content-length': String(seen.body.length),
    });
    expect(seen.headers['transfer-encoding']).toBeUndefined();
    expect(sent.bytes).toBe(seen.body.length);
    expect(JSON.parse(seen.body.toString())).toMatchObject({
      data: { attributes: { 'events-bulk-create': { data: [{ n: 1 }, { n: 2 }] } } },
    });
  });

  it.each([
    ['auto', '2024-10-15', '2026-07-15'],
    ['2025-07-15', '2025-07-15', '2026-07-15'],
    ['2026-10-15', '2026-10-15', '2026-10-15'],
  ])(
    'with a backfilled event has a revision that knows it, and others that of %s',
    async (setting, others, backfilled) => {
      // The response has the revision of the request, so Klaviyo did not use another one.
      const klaviyo = await klaviyoServer((response, { headers }) =>
        response.writeHead(202, { revision: String(headers.revision) }).end(),
      );
      const revision = aRevision(setting);
      const { client } = clientOf(klaviyo.url, { revision });
      const [plain, old] = [anEventPayload(false), anEventPayload(true)];
      const sent: SendResult[] = [];
      for (const batch of [[plain], [plain, old, old], [old], [plain, plain]])
        sent.push(await client.send('events', batch));
      const properties = { a: [{ b: { c: 1, backfill: true } }] };
      const profile = toPayload({ type: 'profile', attributes: { properties } });
      expect(isBackfilled('events', profile)).toBe(true);
      sent.push(await client.send('profiles', [profile]));
      expect(klaviyo.requests.map(({ headers }) => headers.revision)).toEqual([
        ...[others, backfilled, backfilled, others, others],
      ]);
      expect(sent.map((each) => each.backfilled)).toEqual([0, 2, 1, 0, 0]);
      expect(kindsOf(sent[1]!)).toEqual(['delivered', 'delivered', 'delivered']);
      expect(revision.current).toBe(others);
    },
  );

  it('goes to the other endpoint if it has profiles', async () => {
    const { seen } = await requestTo('profiles');
    expect(seen.path).toBe('/api/profile-bulk-import-jobs');
  });

  it('keeps the path of the base URL', async () => {
    const { seen } = await requestTo('events', '/klaviyo/');
    expect(seen.path).toBe('/klaviyo/api/event-bulk-create-jobs');
  });

  it('arrives unchanged if it has five megabytes', async () => {
    const klaviyo = await klaviyoServer((response) => response.writeHead(202).end());
    const big = Array.from({ length: 50 }, (_, n) => toPayload({ n, text: 'ü'.repeat(50_000) }));
    const { client } = clientOf(klaviyo.url);
    await client.send('events', big);
    const list = big.map((payload) => Buffer.from(payload).toString()).join(',');
    const body = klaviyo.requests[0]!.body.toString();
    expect(sha(body.slice(body.indexOf('[') + 1, body.lastIndexOf(']')))).toBe(sha(list));
  });

  it('reuses its connections, and never opens more than the maximum', async () => {
    const ports = new Set<number | undefined>();
    const klaviyo = await klaviyoServer((response) => {
      ports.add(response.socket?.remotePort);
      response.writeHead(202).end();
    });
    const { client } = clientOf(klaviyo.url, { connections: 3 });
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 8 }, () => client.send('events', payloads)));
    }
    expect(klaviyo.requests).toHaveLength(40);
    expect(ports.size).toBe(3);
  });
});

const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('a response to a bulk request', () => {
  const sentTo = async (
    respond: Parameters<typeof startKlaviyoServer>[0],
    lane: 'events' | 'profiles',
  ) => {
    const klaviyo = await klaviyoServer(respond);
    return clientOf(klaviyo.url).client.send(lane, payloads);
  };

  it('becomes outcomes, a status and rate feedback', async () => {
    const headers = { 'ratelimit-limit': '10, 10;w=1, 150;w=60', 'ratelimit-remaining': '9' };
    const sent = await sentTo((response) => response.writeHead(202, headers).end(), 'events');
    expect(sent).toMatchObject({
      outcomes: [{ kind: 'delivered' }, { kind: 'delivered' }],
      status: 202,
      feedback: { remaining: 9, remainingOf: 10 },
    });
  });

  it('becomes a pending outcome with the id of the import job', async () => {
    const type = 'profile-bulk-import-job';
    const sent = await sentTo(
      (response) => respondJson(response, { status: 202, body: { data: { type, id: 'job-7' } } }),
      'profiles',
    );
    expect(sent.outcomes).toEqual([
      { kind: 'pending', ref: 'job-7' },
      { kind: 'pending', ref: 'job-7' },
    ]);
  });

  it.each([
    [{ 'retry-after': '4' }, 4000],
    [{}, 1000],
  ])('of 429 with %j is a wait of %s ms', async (headers, afterMs) => {
    const sent = await sentTo(
      (response) => respondJson(response, { status: 429, body: {}, headers }),
      'events',
    );
    expect(sent.outcomes[0]).toMatchObject({ kind: 'throttled', afterMs });
    expect(sent.status).toBe(429);
  });

  it('is retried if it is a page', async () => {
    const sent = await sentTo(
      (response) => response.writeHead(403, { 'content-type': 'text/html' }).end('<html>no</html>'),
      'events',
    );
    expect(codesOf(sent)).toEqual(['edge', 'edge']);
    expect(sent.status).toBe(403);
  });

  it('still names the bad event if a proxy compressed it', async () => {
    const pointer = '/data/attributes/events-bulk-create/data/1/attributes';
    const body = gzipSync(JSON.stringify({ errors: [{ detail: 'Invalid', source: { pointer } }] }));
    const headers = { 'content-type': 'application/vnd.api+json', 'content-encoding': 'gzip' };
    const sent = await sentTo((response) => response.writeHead(400, headers).end(body), 'events');
    expect(kindsOf(sent)).toEqual(['unattributed', 'rejected']);
  });

  it('does not count as Klaviyo’s if its coding is unknown or damaged', async () => {
    for (const coding of ['zstd', 'gzip']) {
      const headers = { 'content-type': 'application/json', 'content-encoding': coding };
      const sent = await sentTo((response) => response.writeHead(400, headers).end('{}'), 'events');
      expect(codesOf(sent)).toEqual(['edge', 'edge']);
    }
  });

  it('is not followed if it is a redirect, because the key is meant for one host only', async () => {
    const other = await klaviyoServer((response) => response.writeHead(202).end());
    const sent = await sentTo(
      (response) => response.writeHead(307, { location: other.url }).end(),
      'events',
    );
    expect(codesOf(sent)).toEqual(['endpoint', 'endpoint']);
    expect(other.requests).toEqual([]);
  });

  const ok = 'HTTP/1.1 202 Accepted\r\n';
  it.each([
    ['in chunks, of which there are none', `${ok}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    [
      'with a trailer',
      `${ok}transfer-encoding: chunked\r\ntrailer: x-a\r\n\r\n0\r\nx-a: 1\r\n\r\n`,
    ],
    [
      'after early hints',
      `HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${ok}content-length: 0\r\n\r\n`,
    ],
    ['after a 102', `HTTP/1.1 102 Processing\r\n\r\n${ok}content-length: 0\r\n\r\n`],
    ['on a connection that ends', `${ok}connection: close\r\ncontent-length: 0\r\n\r\n`],
    ['until the connection ends', `${ok}\r\n`],
    ['in HTTP/1.0', 'HTTP/1.0 202 Accepted\r\n\r\n'],
    ['with something behind it', `${ok}content-length: 0\r\n\r\nHTTP/1.1 500 No\r\n\r\n`],
  ])('of 202 %s delivers events', async (_name, text) => {
    const klaviyo = await socketServer((socket) => {
      socket.once('data', () => socket.end(text));
    });
    const { client } = clientOf(klaviyo.url);
    for (let request = 0; request < 2; request++) {
      expect(kindsOf(await client.send('events', payloads))).toEqual(['delivered', 'delivered']);
    }
  });

  it('is read up to a bound if it never ends, and is then judged', async () => {
    let written = 0;
    const sent = await sentTo((response) => {
      response.writeHead(400, { 'content-type': 'application/vnd.api+json' });
      const part = Buffer.alloc(1_000_000, '[');
      const write = (): void => {
        while (!response.destroyed && written < 200) {
          written++;
          if (!response.write(part)) {
            response.once('drain', write);
            return;
          }
        }
      };
      write();
    }, 'events');
    expect(kindsOf(sent)).toEqual(['unattributed', 'unattributed']);
    expect(written).toBeLessThan(100);
  });

  it('has the measured duration', async () => {
    const arrived = aPromise<() => void>();
    const klaviyo = await klaviyoServer((response) =>
      arrived.resolve(() => response.writeHead(202).end()),
    );
    const { client, clock } = clientOf(klaviyo.url);
    const sending = client.send('events', payloads);
    const result = await arrived.promise;
    await clock.advance(1234);
    result();
    expect((await sending).durationMs).toBe(1234);
    expect(clock.pending()).toBe(0);
  });
});

describe('a request without a complete response is retried', () => {
  const onRequest = (act: (socket: Socket) => void) => (socket: Socket) => {
    socket.once('data', () => act(socket));
  };

  it('if the connection is reset before anything is read', async () => {
    const klaviyo = await socketServer((socket) => socket.resetAndDestroy());
    const sent = await expectRetryable(clientOf(klaviyo.url).client, 'reset');
    expect(sent.status).toBeNull();
  });

  it('if the connection is reset after the request was received', async () => {
    const klaviyo = await klaviyoServer((response) => response.socket?.resetAndDestroy());
    await expectRetryable(clientOf(klaviyo.url).client, 'reset');
    expect(klaviyo.requests).toHaveLength(1);
  });

  it('if the server closes the connection without a response', async () => {
    const klaviyo = await socketServer(onRequest((socket) => socket.end()));
    await expectRetryable(clientOf(klaviyo.url).client, 'reset');
  });

  it('if the response is not HTTP', async () => {
    const klaviyo = await socketServer(
      onRequest((socket) => socket.end('220 mail.example ESMTP\r\n')),
    );
    await expectRetryable(clientOf(klaviyo.url).client, 'protocol');
  });

  it('if the chunks of the response are invalid', async () => {
    const head = 'HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n';
    const klaviyo = await socketServer(onRequest((socket) => socket.end(`${head}zz\r\njunk\r\n`)));
    const sent = await sendTo(klaviyo);
    expect(codesOf(sent)).toEqual(['protocol', 'protocol']);
    expect(sent.status).toBe(400);
  });

  it('if the response breaks off in the middle', async () => {
    const head = 'HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n';
    const klaviyo = await socketServer(onRequest((socket) => socket.end(`${head}{"errors":[`)));
    const sent = await sendTo(klaviyo);
    expect(codesOf(sent)).toEqual(['reset', 'reset']);
    expect(sent.status).toBe(400);
  });

  const sendTo = async (klaviyo: KlaviyoServer): Promise<SendResult> => {
    const sent = await clientOf(klaviyo.url).client.send('events', payloads);
    expect(kindsOf(sent)).toEqual(['retryable', 'retryable']);
    return sent;
  };

  it.each([
    ['a 202 whose body broke off', 'HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n{'],
    ['a 202 of which no byte came', 'HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n'],
    ['a 202 without its last chunk', 'HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n'],
    [
      'a 202 without its last chunk, on a connection that ends',
      'HTTP/1.1 202 Accepted\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n',
    ],
    [
      'a 202 of which no byte came, on a connection that ends',
      'HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\n',
    ],
    ['half a page', 'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n<html>'],
    ['nothing but early hints', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ])('where all that came for events is %s', async (_name, head) => {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const klaviyo = await socketServer(
        onRequest((socket) => socket.write(head, () => void socket[end]())),
      );
      const sent = await clientOf(klaviyo.url).client.send('events', payloads);
      expect(kindsOf(sent)).toEqual(['retryable', 'retryable']);
    }
  });

  it('unless a 202 for events breaks off whose headers say that its body is empty', async () => {
    const head = 'HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n';
    const klaviyo = await socketServer(
      onRequest((socket) => socket.write(head, () => void socket.resetAndDestroy())),
    );
    const sent = await clientOf(klaviyo.url).client.send('events', payloads);
    expect(kindsOf(sent)).toEqual(['delivered', 'delivered']);
  });

  it('if the body of a 202 for events never ends', async () => {
    const arrived = aPromise();
    const klaviyo = await klaviyoServer((response) => {
      response.writeHead(202, { 'content-length': '10' }).flushHeaders();
      arrived.resolve();
    });
    const { client, clock } = clientOf(klaviyo.url, { timeoutMs: 10_000 });
    const sending = expectRetryable(client, 'timeout');
    await arrived.promise;
    await clock.advance(10_000);
    expect((await sending).durationMs).toBe(10_000);
  });

  it('if a 202 for profiles breaks off within the job id', async () => {
    const head = 'HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n';
    const klaviyo = await socketServer(onRequest((socket) => socket.end(`${head}{"data":`)));
    const { client } = clientOf(klaviyo.url);
    expect(codesOf(await client.send('profiles', payloads))).toEqual(['reset', 'reset']);
  });

  it('if no server listens', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    await expectRetryable(clientOf(`http://127.0.0.1:${port}`).client, 'connect');
  });

  it('if the host name does not exist', async () => {
    // RFC 6761: .invalid never resolves.
    await expectRetryable(clientOf('http://klaviyo.invalid').client, 'dns');
  });

  it('if the server does not speak TLS', async () => {
    const klaviyo = await socketServer(
      onRequest((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    );
    await expectRetryable(clientOf(klaviyo.url.replace('http:', 'https:')).client, 'tls');
  });

  it('if the response never arrives', async () => {
    const arrived = aPromise();
    const klaviyo = await klaviyoServer(() => arrived.resolve());
    const { client, clock } = clientOf(klaviyo.url, { timeoutMs: 30_000 });
    const sending = expectRetryable(client, 'timeout');
    await arrived.promise;
    await clock.advance(29_999);
    expect(clock.pending()).toBe(1);
    await clock.advance(1);
    expect((await sending).durationMs).toBe(30_000);
    expect(clock.pending()).toBe(0);
  });

  it('if the response arrives too slowly', async () => {
    const arrived = aPromise<() => void>();
    const klaviyo = await klaviyoServer((response) => {
      response.writeHead(400, { 'content-type': 'application/vnd.api+json' });
      arrived.resolve(() => response.write('{'));
    });
    const { client, clock } = clientOf(klaviyo.url, { timeoutMs: 10_000 });
    const sending = expectRetryable(client, 'timeout');
    const drip = await arrived.promise;
    for (let second = 0; second < 10; second++) {
      drip();
      await clock.advance(1000);
    }
    expect((await sending).status).toBe(400);
  });

  it('if the server does not read the request', async () => {
    const klaviyo = await socketServer((socket) => socket.pause());
    const { client } = clientOf(klaviyo.url, { timeoutMs: 50, clock: systemClock });
    const big = Array.from({ length: 2 }, () => new Uint8Array(20_000_000).fill(0x20));
    const sent = await client.send('events', big);
    expect(codesOf(sent)).toEqual(['timeout', 'timeout']);
  });

  it('and the next request succeeds', async () => {
    let broken = true;
    const klaviyo = await klaviyoServer((response) => {
      if (broken) response.socket?.resetAndDestroy();
      else response.writeHead(202).end();
    });
    const { client } = clientOf(klaviyo.url);
    await expectRetryable(client, 'reset');
    broken = false;
    expect(kindsOf(await client.send('events', payloads))).toEqual(['delivered', 'delivered']);
  });
});

it('no reason of a failed request contains the key', async () => {
  const klaviyo = await socketServer((socket) => socket.resetAndDestroy());
  const sent = await clientOf(klaviyo.url).client.send('events', payloads);
  expect(JSON.stringify(sent)).not.toContain('pk_test');
});

describe('closing the client', () => {
  it('lets requests in flight end', async () => {
    const arrived = aPromise<() => void>();
    const klaviyo = await klaviyoServer((response) =>
      arrived.resolve(() => response.writeHead(202).end()),
    );
    const { client } = clientOf(klaviyo.url);
    const sending = client.send('events', payloads);
    const result = await arrived.promise;
    const closing = client.close();
    result();
    expect(kindsOf(await sending)).toEqual(['delivered', 'delivered']);
    await closing;
  });

  it('cuts off requests that do not end in time', async () => {
    const arrived = aPromise();
    const klaviyo = await klaviyoServer(() => arrived.resolve());
    const { client, clock } = clientOf(klaviyo.url);
    const sending = expectRetryable(client, 'closed');
    await arrived.promise;
    const closing = client.close();
    await clock.advance(500);
    await closing;
    await sending;
    await settlePromises();
    expect(clock.pending()).toBe(0);
  });

  it('is idempotent, and later requests are retryable', async () => {
    const klaviyo = await klaviyoServer((response) => response.writeHead(202).end());
    const { client } = clientOf(klaviyo.url);
    await Promise.all([client.close(), client.close()]);
    await client.close();
    await expectRetryable(client, 'closed');
    expect(klaviyo.requests).toEqual([]);
  });
});
