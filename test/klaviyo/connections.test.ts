import dns from 'node:dns';
import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SendResult } from '../../src/model/destination.js';
import type { KlaviyoClientOptions } from '../../src/klaviyo/client.js';
import { makeCertificate, type Certificate } from '../support/certificate.js';
import { startProxy, type ProxyOptions } from '../support/proxy-server.js';
import {
  aClient,
  aPromise,
  startSocketServer,
  startKlaviyoServer,
  toPayload,
} from './klaviyo-server.js';

let open: { close(): Promise<void> }[] = [];
let certificate: Certificate;
beforeAll(() => {
  certificate = makeCertificate();
});
beforeEach(() => {
  open = [];
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  for (const each of open.reverse()) await each.close();
});

const keep = <T extends { close(): Promise<void> }>(each: T): T => {
  open.push(each);
  return each;
};
const clientOf = (url: string, overrides: Partial<KlaviyoClientOptions> = {}) => {
  const made = aClient(url, overrides);
  keep(made.client);
  return made;
};
const proxyOf = async (options?: ProxyOptions) => keep(await startProxy(options));

const payloads = [toPayload({ n: 1 })];
const kindOf = ({ outcomes }: SendResult): string | undefined => outcomes[0]?.kind;
const codeOf = ({ outcomes: [outcome] }: SendResult): string | undefined =>
  outcome !== undefined && 'reason' in outcome ? outcome.reason.code : undefined;

describe('a connection to Klaviyo', () => {
  /** A Klaviyo server that records the connection of each request and its `connection` header. */
  async function startCounting() {
    const seen: { port: number | undefined; connection: string | undefined }[] = [];
    const klaviyo = keep(
      await startKlaviyoServer((response, { headers }) => {
        seen.push({ port: response.socket?.remotePort, connection: headers.connection });
        response.writeHead(202, { 'keep-alive': 'timeout=600' }).end();
      }),
    );
    return { klaviyo, seen };
  }

  it('ends with the first request that finds it ten seconds old', async () => {
    const { klaviyo, seen } = await startCounting();
    const { client, clock } = clientOf(klaviyo.url, { connections: 1 });
    for (const waitMs of [0, 9999, 1, 0, 9999]) {
      await clock.advance(waitMs);
      expect(kindOf(await client.send('events', payloads))).toBe('delivered');
    }
    const [first, , , second] = seen.map(({ port }) => port);
    expect(seen.map(({ port }) => port)).toEqual([first, first, first, second, second]);
    expect(second).not.toBe(first);
    const [kept, last] = ['keep-alive', 'close'];
    expect(seen.map(({ connection }) => connection)).toEqual([kept, kept, last, kept, kept]);
  });

  it('fails the request if it is not open within the time limit', { timeout: 5000 }, async () => {
    // Accepts the connection and never begins TLS. The manual clock does not advance: only the time limit of
    // the connection can end this.
    const silent = keep(await startSocketServer(() => undefined));
    const { client } = clientOf(silent.url.replace('http:', 'https:'), { timeoutMs: 50 });
    const sent = await client.send('events', payloads);
    expect([kindOf(sent), codeOf(sent)]).toEqual(['retryable', 'connect']);
  });

  it('serves a request to its end, however old it becomes meanwhile', async () => {
    const arrived = aPromise<() => void>();
    const klaviyo = keep(
      await startKlaviyoServer((response) => arrived.resolve(() => response.writeHead(202).end())),
    );
    const { client, clock } = clientOf(klaviyo.url, { timeoutMs: 60_000 });
    const sending = client.send('events', payloads);
    const result = await arrived.promise;
    await clock.advance(59_000);
    result();
    expect(kindOf(await sending)).toBe('delivered');
  });

  it('counts towards the maximum while it is old, and is replaced', async () => {
    const { klaviyo, seen } = await startCounting();
    const { client, clock } = clientOf(klaviyo.url, { connections: 3 });
    for (let round = 0; round < 6; round++) {
      const sent = await Promise.all(
        Array.from({ length: 8 }, () => client.send('events', payloads)),
      );
      expect(sent.map(kindOf)).toEqual(Array.from({ length: 8 }, () => 'delivered'));
      await clock.advance(5000);
    }
    expect(seen).toHaveLength(48);
    const ports = (from: number) => new Set(seen.slice(from, from + 8).map(({ port }) => port));
    expect(ports(0).size).toBe(3);
    expect([...ports(0)].filter((port) => ports(40).has(port))).toEqual([]);
  });

  it('follows a changed DNS name, away from an address that still responds', async () => {
    const addresses: (string | undefined)[] = [];
    const klaviyo = keep(
      await startKlaviyoServer((response) => {
        addresses.push(response.socket?.localAddress);
        response.writeHead(202).end();
      }, '0.0.0.0'),
    );
    let address = '127.0.0.1';
    const lookup = vi.spyOn(dns, 'lookup').mockImplementation(((
      _name: string,
      { all }: dns.LookupOptions,
      callback: (error: null, found: unknown, family?: number) => void,
    ) => {
      if (all === true) callback(null, [{ address, family: 4 }]);
      else callback(null, address, 4);
    }) as typeof dns.lookup);
    const { client, clock } = clientOf(klaviyo.url.replace('127.0.0.1', 'klaviyo.test'), {
      connections: 1,
    });
    await client.send('events', payloads);
    address = '127.0.0.2';
    await client.send('events', payloads);
    await clock.advance(10_000);
    await client.send('events', payloads);
    await client.send('events', payloads);
    expect(addresses).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1', '127.0.0.2']);
    expect(lookup).toHaveBeenCalledTimes(2);
  });
});

describe('the headers of a response', () => {
  const sendTo = async (bytes: number) => {
    const klaviyo = keep(
      await startKlaviyoServer((response) => {
        // Node reads 16 KiB of headers by default, but sends more.
        const cookies = Array.from({ length: bytes / 1000 }, (_, n) => `c${n}=${'x'.repeat(980)}`);
        response.writeHead(202, { 'set-cookie': cookies }).end();
      }),
    );
    return clientOf(klaviyo.url).client.send('events', payloads);
  };

  it('may have 64 KiB', async () => {
    expect(kindOf(await sendTo(60_000))).toBe('delivered');
  });

  it('are a protocol failure if they are larger', async () => {
    const sent = await sendTo(80_000);
    expect([kindOf(sent), codeOf(sent)]).toEqual(['retryable', 'protocol']);
  });
});

describe('plain HTTP through a proxy', () => {
  it("requests the whole URL from the proxy, with the proxy's credentials and Klaviyo's host", async () => {
    const klaviyo = keep(await startKlaviyoServer((response) => response.writeHead(202).end()));
    const proxy = await proxyOf();
    const { client } = clientOf(`${klaviyo.url}/klaviyo`, {
      proxy: new URL(proxy.url.replace('//', '//sam:s3cret@')),
    });
    expect(kindOf(await client.send('events', payloads, () => true))).toBe('delivered');
    expect(proxy.requests).toEqual([
      {
        line: `POST ${klaviyo.url}/klaviyo/api/event-bulk-create-jobs`,
        authorization: `Basic ${Buffer.from('sam:s3cret').toString('base64')}`,
      },
    ]);
    expect(klaviyo.requests[0]?.headers.host).toBe(new URL(klaviyo.url).host);
  });

  it('fails as `proxy` if the proxy cannot be reached', async () => {
    const { client } = clientOf('http://a.klaviyo.test', { proxy: new URL(await freeUrl()) });
    const sent = await client.send('events', payloads);
    expect(sent.outcomes[0]).toEqual({
      kind: 'retryable',
      reason: { code: 'proxy', detail: 'no way through the proxy (PROXY_ECONNREFUSED)' },
    });
  });
});

describe('HTTPS through a proxy', () => {
  const startSecure = async () => {
    const ports = new Set<number | undefined>();
    let bytes = 0;
    const server = createTlsServer(certificate, (request, response) => {
      ports.add(request.socket.remotePort);
      request.on('data', (part: Buffer) => (bytes += part.length));
      request.on('end', () => response.writeHead(202).end());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    keep({
      async close() {
        server.close();
        server.closeAllConnections();
        await once(server, 'close');
      },
    });
    return { url: `https://localhost:${port}`, ports, bytes: () => bytes };
  };
  /** The certificate of the test is self-signed. */
  const trustAll = () => vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');

  it.each([
    ['an HTTP proxy', () => ({})],
    ['a proxy over TLS', () => ({ certificate })],
  ])('goes through a tunnel of %s, also in small pieces', async (_name, toOptions) => {
    trustAll();
    const [klaviyo, proxy] = [await startSecure(), await proxyOf(toOptions())];
    const { client } = clientOf(klaviyo.url, {
      connections: 1,
      proxy: new URL(proxy.url.replace('//', '//sam:s3cret@')),
    });
    const large = [toPayload({ pad: 'x'.repeat(3_000_000) })];
    const sent = [
      await client.send('events', large, () => true),
      await client.send('events', payloads),
    ];
    expect(sent.map(kindOf)).toEqual(['delivered', 'delivered']);
    expect(klaviyo.bytes()).toBe(sent.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(proxy.requests).toEqual([
      {
        line: `CONNECT ${new URL(klaviyo.url).host}`,
        authorization: `Basic ${Buffer.from('sam:s3cret').toString('base64')}`,
      },
    ]);
    expect(codeOf(await client.send('events', large, () => false))).toBe('lease');
  });

  it('stays within its maximum of connections, and replaces old tunnels', async () => {
    trustAll();
    const [klaviyo, proxy] = [await startSecure(), await proxyOf()];
    const { client, clock } = clientOf(klaviyo.url, { connections: 3, proxy: new URL(proxy.url) });
    const round = () =>
      Promise.all(Array.from({ length: 8 }, () => client.send('events', payloads)));
    await round();
    await round();
    expect([klaviyo.ports.size, proxy.requests.length]).toEqual([3, 3]);
    await clock.advance(10_000);
    await round();
    expect((await round()).map(kindOf)).toEqual(Array.from({ length: 8 }, () => 'delivered'));
    expect([klaviyo.ports.size, proxy.requests.length]).toEqual([6, 6]);
  });

  it('does not trust a server behind the proxy without a valid certificate', async () => {
    const [klaviyo, proxy] = [await startSecure(), await proxyOf()];
    const { client } = clientOf(klaviyo.url, { proxy: new URL(proxy.url) });
    expect(codeOf(await client.send('events', payloads))).toBe('tls');
    expect(proxy.requests).toHaveLength(1);
  });

  it.each([
    [403, 'retryable', 'proxy'],
    [407, 'blocked', 'proxy_auth'],
    [429, 'retryable', 'proxy'],
    [502, 'retryable', 'proxy'],
    [301, 'retryable', 'proxy'],
  ])('is a failure of the proxy if CONNECT gets %i', async (status, kind, code) => {
    const proxy = await proxyOf({
      connectResponse: `HTTP/1.1 ${status} No\r\ncontent-length: 4\r\n\r\nsorr`,
    });
    const { client } = clientOf('https://a.klaviyo.test', {
      proxy: new URL(proxy.url.replace('//', '//sam:s3cret@')),
    });
    const sent = await client.send('events', payloads);
    expect([kindOf(sent), codeOf(sent), sent.status]).toEqual([kind, code, null]);
    expect(JSON.stringify(sent)).toContain(`PROXY_${status}`);
    expect(JSON.stringify(sent)).not.toContain('s3cret');
  });

  it('fails as `proxy` if the proxy is absent, hangs up or does not speak HTTP', async () => {
    const { client: lonely } = clientOf('https://a.klaviyo.test', {
      proxy: new URL(await freeUrl()),
    });
    expect(codeOf(await lonely.send('events', payloads))).toBe('proxy');
    for (const words of ['', 'SSH-2.0-OpenSSH_9\r\n']) {
      const bare = keep(
        await startSocketServer(
          (socket: Socket) => void socket.once('data', () => socket.end(words)),
        ),
      );
      const { client } = clientOf('https://a.klaviyo.test', { proxy: new URL(bare.url) });
      expect(codeOf(await client.send('events', payloads))).toBe('proxy');
    }
  });

  it('waits for a silent proxy no longer than for a connection, and then frees the place of the connection', async () => {
    const proxy = await proxyOf({ connectResponse: null });
    const { client, clock } = clientOf('https://a.klaviyo.test', {
      proxy: new URL(proxy.url),
      connections: 1,
      timeoutMs: 60_000,
    });
    for (let request = 1; request <= 2; request++) {
      const sending = client.send('events', payloads);
      await vi.waitFor(() => expect(proxy.requests).toHaveLength(request));
      await clock.advance(10_000);
      const sent = await sending;
      expect([codeOf(sent), sent.durationMs]).toEqual(['proxy', 10_000]);
    }
  });

  it('ends a tunnel that is being opened when the client closes', async () => {
    const proxy = await proxyOf({ connectResponse: null });
    const { client, clock } = clientOf('https://a.klaviyo.test', { proxy: new URL(proxy.url) });
    const sending = client.send('events', payloads);
    await vi.waitFor(() => expect(proxy.requests).toHaveLength(1));
    const closing = client.close();
    await clock.advance(500);
    await closing;
    expect(codeOf(await sending)).toBe('closed');
    expect(clock.pending()).toBe(0);
  });
});

/** A URL at which no server listens. */
async function freeUrl(): Promise<string> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `http://127.0.0.1:${port}`;
}
