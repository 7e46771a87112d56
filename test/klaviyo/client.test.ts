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
  answerJson,
  startBareSide,
  startFarSide,
  toPayload,
  type FarSide,
} from './klaviyo-server.js';

/** Whatever a test opens, in order; closed in reverse. */
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
const farSide = async (...args: Parameters<typeof startFarSide>) =>
  keep(await startFarSide(...args));
const bareSide = async (...args: Parameters<typeof startBareSide>) =>
  keep(await startBareSide(...args));
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
/** Sends two payloads and expects them to go again, for the same reason and with no answer. */
async function sendInVain(client: KlaviyoClient, code: string): Promise<SendResult> {
  const sent = await client.send('events', payloads);
  expect(kindsOf(sent)).toEqual(['retryable', 'retryable']);
  expect(codesOf(sent)).toEqual([code, code]);
  expect(sent.feedback).toBeNull();
  return sent;
}

describe('a request that others may make by now', () => {
  /** More than the connection takes at once, so that the client has to wait in the middle. */
  const large = [toPayload({ pad: 'x'.repeat(20_000_000) })];

  it('leaves whole while it is held', async () => {
    const far = await farSide((response) => response.writeHead(202).end());
    const { client } = clientOf(far.url);
    const sent = await client.send('profiles', large, () => true);
    expect(sent).toMatchObject({ status: 202, bytes: far.requests[0]?.body.length });
    expect(sent.bytes).toBeGreaterThan(20_000_000);
  });

  it('does not become whole once it is not, however much of it has left', async () => {
    let received = 0;
    const begun = aPromise<Socket>();
    const far = await bareSide((socket) => {
      socket.once('data', (part: Buffer) => {
        received += part.length;
        socket.pause();
        begun.resolve(socket);
      });
    });
    const { client } = clientOf(far.url);
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

  it('sends nothing of its body where it is not from the start, and the next one goes', async () => {
    const far = await farSide((response) => response.writeHead(202).end());
    const { client } = clientOf(far.url);
    expect(codesOf(await client.send('events', payloads, () => false))).toEqual(['lease', 'lease']);
    expect((await client.send('events', payloads, () => true)).status).toBe(202);
    expect(far.requests).toHaveLength(1);
  });
});

describe('a request', () => {
  const seenBy = async (lane: 'events' | 'profiles', path = '') => {
    const far = await farSide((response) => response.writeHead(202).end());
    const { client } = clientOf(`${far.url}${path}`);
    const sent = await client.send(lane, payloads);
    return { seen: far.requests[0]!, sent };
  };

  it("carries Klaviyo's headers and the body with its exact length", async () => {
    const { seen, sent } = await seenBy('events');
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
      // The answer names the revision of the request: that is no move of Klaviyo's.
      const far = await farSide((response, { headers }) =>
        response.writeHead(202, { revision: String(headers.revision) }).end(),
      );
      const revision = aRevision(setting);
      const { client } = clientOf(far.url, { revision });
      const [plain, old] = [anEventPayload(false), anEventPayload(true)];
      const sent: SendResult[] = [];
      for (const batch of [[plain], [plain, old, old], [old], [plain, plain]])
        sent.push(await client.send('events', batch));
      const properties = { a: [{ b: { c: 1, backfill: true } }] };
      const profile = toPayload({ type: 'profile', attributes: { properties } });
      expect(isBackfilled('events', profile)).toBe(true);
      sent.push(await client.send('profiles', [profile]));
      expect(far.requests.map(({ headers }) => headers.revision)).toEqual([
        ...[others, backfilled, backfilled, others, others],
      ]);
      expect(sent.map((each) => each.backfilled)).toEqual([0, 2, 1, 0, 0]);
      expect(kindsOf(sent[1]!)).toEqual(['delivered', 'delivered', 'delivered']);
      expect(revision.current).toBe(others);
    },
  );

  it('with profiles goes to the other endpoint', async () => {
    const { seen } = await seenBy('profiles');
    expect(seen.path).toBe('/api/profile-bulk-import-jobs');
  });

  it('keeps a path of the base URL', async () => {
    const { seen } = await seenBy('events', '/klaviyo/');
    expect(seen.path).toBe('/klaviyo/api/event-bulk-create-jobs');
  });

  it('of five megabytes arrives as it was', async () => {
    const far = await farSide((response) => response.writeHead(202).end());
    const big = Array.from({ length: 50 }, (_, n) => toPayload({ n, text: 'ü'.repeat(50_000) }));
    const { client } = clientOf(far.url);
    await client.send('events', big);
    const list = big.map((payload) => Buffer.from(payload).toString()).join(',');
    const body = far.requests[0]!.body.toString();
    expect(sha(body.slice(body.indexOf('[') + 1, body.lastIndexOf(']')))).toBe(sha(list));
  });

  it('uses its connections again and again, and never more than it may', async () => {
    const ports = new Set<number | undefined>();
    const far = await farSide((response) => {
      ports.add(response.socket?.remotePort);
      response.writeHead(202).end();
    });
    const { client } = clientOf(far.url, { connections: 3 });
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 8 }, () => client.send('events', payloads)));
    }
    expect(far.requests).toHaveLength(40);
    expect(ports.size).toBe(3);
  });
});

const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('an answer', () => {
  const sentTo = async (
    respond: Parameters<typeof startFarSide>[0],
    lane: 'events' | 'profiles',
  ) => {
    const far = await farSide(respond);
    return clientOf(far.url).client.send(lane, payloads);
  };

  it('gives outcomes, status and what it says about rates', async () => {
    const headers = { 'ratelimit-limit': '10, 10;w=1, 150;w=60', 'ratelimit-remaining': '9' };
    const sent = await sentTo((response) => response.writeHead(202, headers).end(), 'events');
    expect(sent).toMatchObject({
      outcomes: [{ kind: 'delivered' }, { kind: 'delivered' }],
      status: 202,
      feedback: { remaining: 9, remainingOf: 10 },
    });
  });

  it('with an import job gives its reference', async () => {
    const type = 'profile-bulk-import-job';
    const sent = await sentTo(
      (response) => answerJson(response, { status: 202, body: { data: { type, id: 'job-7' } } }),
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
      (response) => answerJson(response, { status: 429, body: {}, headers }),
      'events',
    );
    expect(sent.outcomes[0]).toMatchObject({ kind: 'throttled', afterMs });
    expect(sent.status).toBe(429);
  });

  it('that is a page says nothing about the events', async () => {
    const sent = await sentTo(
      (response) => response.writeHead(403, { 'content-type': 'text/html' }).end('<html>no</html>'),
      'events',
    );
    expect(codesOf(sent)).toEqual(['edge', 'edge']);
    expect(sent.status).toBe(403);
  });

  it('that is compressed although nobody asked for it still names the event at fault', async () => {
    const pointer = '/data/attributes/events-bulk-create/data/1/attributes';
    const body = gzipSync(JSON.stringify({ errors: [{ detail: 'Invalid', source: { pointer } }] }));
    const headers = { 'content-type': 'application/vnd.api+json', 'content-encoding': 'gzip' };
    const sent = await sentTo((response) => response.writeHead(400, headers).end(body), 'events');
    expect(kindsOf(sent)).toEqual(['unattributed', 'rejected']);
  });

  it('in a coding that is unknown or damaged is not taken for Klaviyo’s', async () => {
    for (const coding of ['zstd', 'gzip']) {
      const headers = { 'content-type': 'application/json', 'content-encoding': coding };
      const sent = await sentTo((response) => response.writeHead(400, headers).end('{}'), 'events');
      expect(codesOf(sent)).toEqual(['edge', 'edge']);
    }
  });

  it('that leads elsewhere is not followed: the key is for one host alone', async () => {
    const other = await farSide((response) => response.writeHead(202).end());
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
    const far = await bareSide((socket) => {
      socket.once('data', () => socket.end(text));
    });
    const { client } = clientOf(far.url);
    for (let request = 0; request < 2; request++) {
      expect(kindsOf(await client.send('events', payloads))).toEqual(['delivered', 'delivered']);
    }
  });

  it('without an end is read up to a bound, and then judged', async () => {
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

  it('takes as long as it took', async () => {
    const arrived = aPromise<() => void>();
    const far = await farSide((response) => arrived.resolve(() => response.writeHead(202).end()));
    const { client, clock } = clientOf(far.url);
    const sending = client.send('events', payloads);
    const answer = await arrived.promise;
    await clock.advance(1234);
    answer();
    expect((await sending).durationMs).toBe(1234);
    expect(clock.pending()).toBe(0);
  });
});

describe('without an answer everything goes again', () => {
  const onRequest = (act: (socket: Socket) => void) => (socket: Socket) => {
    socket.once('data', () => act(socket));
  };

  it('where the connection is reset before anything is read', async () => {
    const far = await bareSide((socket) => socket.resetAndDestroy());
    const sent = await sendInVain(clientOf(far.url).client, 'reset');
    expect(sent.status).toBeNull();
  });

  it('where the connection is reset after the request was taken', async () => {
    const far = await farSide((response) => response.socket?.resetAndDestroy());
    await sendInVain(clientOf(far.url).client, 'reset');
    expect(far.requests).toHaveLength(1);
  });

  it('where the far side hangs up politely without a word', async () => {
    const far = await bareSide(onRequest((socket) => socket.end()));
    await sendInVain(clientOf(far.url).client, 'reset');
  });

  it('where what comes is not HTTP', async () => {
    const far = await bareSide(onRequest((socket) => socket.end('220 mail.example ESMTP\r\n')));
    await sendInVain(clientOf(far.url).client, 'protocol');
  });

  it('where the chunks of an answer are junk', async () => {
    const head = 'HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n';
    const far = await bareSide(onRequest((socket) => socket.end(`${head}zz\r\njunk\r\n`)));
    const sent = await client400(far);
    expect(codesOf(sent)).toEqual(['protocol', 'protocol']);
    expect(sent.status).toBe(400);
  });

  it('where an answer breaks off in the middle', async () => {
    const head = 'HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n';
    const far = await bareSide(onRequest((socket) => socket.end(`${head}{"errors":[`)));
    const sent = await client400(far);
    expect(codesOf(sent)).toEqual(['reset', 'reset']);
    expect(sent.status).toBe(400);
  });

  const client400 = async (far: FarSide): Promise<SendResult> => {
    const sent = await clientOf(far.url).client.send('events', payloads);
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
      const far = await bareSide(
        onRequest((socket) => socket.write(head, () => void socket[end]())),
      );
      const sent = await clientOf(far.url).client.send('events', payloads);
      expect(kindsOf(sent)).toEqual(['retryable', 'retryable']);
    }
  });

  it('but not after a 202 for events whose headers say that nothing follows', async () => {
    const head = 'HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n';
    const far = await bareSide(
      onRequest((socket) => socket.write(head, () => void socket.resetAndDestroy())),
    );
    const sent = await clientOf(far.url).client.send('events', payloads);
    expect(kindsOf(sent)).toEqual(['delivered', 'delivered']);
  });

  it('where a 202 for events began, and its body never ends', async () => {
    const arrived = aPromise();
    const far = await farSide((response) => {
      response.writeHead(202, { 'content-length': '10' }).flushHeaders();
      arrived.resolve();
    });
    const { client, clock } = clientOf(far.url, { timeoutMs: 10_000 });
    const sending = sendInVain(client, 'timeout');
    await arrived.promise;
    await clock.advance(10_000);
    expect((await sending).durationMs).toBe(10_000);
  });

  it('where an import was taken and its job id broke off', async () => {
    const head = 'HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n';
    const far = await bareSide(onRequest((socket) => socket.end(`${head}{"data":`)));
    const { client } = clientOf(far.url);
    expect(codesOf(await client.send('profiles', payloads))).toEqual(['reset', 'reset']);
  });

  it('where nobody listens', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    await sendInVain(clientOf(`http://127.0.0.1:${port}`).client, 'connect');
  });

  it('where the name does not exist', async () => {
    // RFC 6761: .invalid never resolves.
    await sendInVain(clientOf('http://klaviyo.invalid').client, 'dns');
  });

  it('where the far side does not speak TLS', async () => {
    const far = await bareSide(
      onRequest((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    );
    await sendInVain(clientOf(far.url.replace('http:', 'https:')).client, 'tls');
  });

  it('where the answer never comes', async () => {
    const arrived = aPromise();
    const far = await farSide(() => arrived.resolve());
    const { client, clock } = clientOf(far.url, { timeoutMs: 30_000 });
    const sending = sendInVain(client, 'timeout');
    await arrived.promise;
    await clock.advance(29_999);
    expect(clock.pending()).toBe(1);
    await clock.advance(1);
    expect((await sending).durationMs).toBe(30_000);
    expect(clock.pending()).toBe(0);
  });

  it('where the answer only drips', async () => {
    const arrived = aPromise<() => void>();
    const far = await farSide((response) => {
      response.writeHead(400, { 'content-type': 'application/vnd.api+json' });
      arrived.resolve(() => response.write('{'));
    });
    const { client, clock } = clientOf(far.url, { timeoutMs: 10_000 });
    const sending = sendInVain(client, 'timeout');
    const drip = await arrived.promise;
    for (let second = 0; second < 10; second++) {
      drip();
      await clock.advance(1000);
    }
    expect((await sending).status).toBe(400);
  });

  it('where the request is not even read', async () => {
    const far = await bareSide((socket) => socket.pause());
    const { client } = clientOf(far.url, { timeoutMs: 50, clock: systemClock });
    const big = Array.from({ length: 2 }, () => new Uint8Array(20_000_000).fill(0x20));
    const sent = await client.send('events', big);
    expect(codesOf(sent)).toEqual(['timeout', 'timeout']);
  });

  it('and the next request is fine again', async () => {
    let broken = true;
    const far = await farSide((response) => {
      if (broken) response.socket?.resetAndDestroy();
      else response.writeHead(202).end();
    });
    const { client } = clientOf(far.url);
    await sendInVain(client, 'reset');
    broken = false;
    expect(kindsOf(await client.send('events', payloads))).toEqual(['delivered', 'delivered']);
  });
});

it('no reason ever holds the key', async () => {
  const far = await bareSide((socket) => socket.resetAndDestroy());
  const sent = await clientOf(far.url).client.send('events', payloads);
  expect(JSON.stringify(sent)).not.toContain('pk_test');
});

describe('closing', () => {
  it('lets what is under way end', async () => {
    const arrived = aPromise<() => void>();
    const far = await farSide((response) => arrived.resolve(() => response.writeHead(202).end()));
    const { client } = clientOf(far.url);
    const sending = client.send('events', payloads);
    const answer = await arrived.promise;
    const closing = client.close();
    answer();
    expect(kindsOf(await sending)).toEqual(['delivered', 'delivered']);
    await closing;
  });

  it('cuts what does not end in time', async () => {
    const arrived = aPromise();
    const far = await farSide(() => arrived.resolve());
    const { client, clock } = clientOf(far.url);
    const sending = sendInVain(client, 'closed');
    await arrived.promise;
    const closing = client.close();
    await clock.advance(500);
    await closing;
    await sending;
    await settlePromises();
    expect(clock.pending()).toBe(0);
  });

  it('may be done twice, and what is sent afterwards goes again', async () => {
    const far = await farSide((response) => response.writeHead(202).end());
    const { client } = clientOf(far.url);
    await Promise.all([client.close(), client.close()]);
    await client.close();
    await sendInVain(client, 'closed');
    expect(far.requests).toEqual([]);
  });
});
