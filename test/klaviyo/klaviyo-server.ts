import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import {
  createServer as createSocketServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net';
import type { ImportedPayloads } from '../../src/model/destination.js';
import { createKlaviyoClient, type KlaviyoClientOptions } from '../../src/klaviyo/client.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { aRevision } from '../support/revisions.js';

/** A request as the server received it. */
export type ReceivedRequest = {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
};

export type KlaviyoServer = {
  readonly url: string;
  /** Complete requests, oldest first. */
  readonly requests: readonly ReceivedRequest[];
  close(): Promise<void>;
};

type Respond = (response: ServerResponse, seen: ReceivedRequest) => void;

/** Starts a server in place of Klaviyo. It responds to each complete request with `respond`. */
export async function startKlaviyoServer(
  respond: Respond,
  host = '127.0.0.1',
): Promise<KlaviyoServer> {
  const requests: ReceivedRequest[] = [];
  const server = createServer((request, response) => {
    void readAll(request).then((body) => {
      const { method = '', url: path = '', headers } = request;
      const seen = { method, path, headers, body };
      requests.push(seen);
      respond(response, seen);
    });
  });
  const url = await listen(server, host);
  return {
    url,
    requests,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Starts a server without HTTP: `serve` is called with the socket of each connection. */
export async function startSocketServer(serve: (socket: Socket) => void): Promise<KlaviyoServer> {
  const sockets = new Set<Socket>();
  const server = createSocketServer((socket) => {
    sockets.add(socket);
    // A connection that the client breaks is not an error of the test.
    socket.on('error', () => undefined);
    serve(socket);
  });
  const url = await listen(server);
  return {
    url,
    requests: [],
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}

async function listen(server: Server, host = '127.0.0.1'): Promise<string> {
  server.listen(0, host);
  await once(server, 'listening');
  // A TCP server has an address and a port.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

export type JsonResponse = {
  readonly status?: number;
  readonly body: unknown;
  readonly headers?: Record<string, string>;
};

export function respondJson(
  response: ServerResponse,
  { status = 200, body, headers = {} }: JsonResponse,
): void {
  response.writeHead(status, { 'content-type': 'application/vnd.api+json', ...headers });
  response.end(JSON.stringify(body));
}

/** A client with a manual clock, which only the test advances. */
export function aClient(baseUrl: string, overrides: Partial<KlaviyoClientOptions> = {}) {
  const clock: ManualClock = createManualClock();
  const client = createKlaviyoClient({
    apiKey: () => 'pk_test_key_1',
    baseUrl,
    revision: aRevision('2024-10-15'),
    timeoutMs: 5000,
    connections: 2,
    proxy: null,
    clock,
    version: '1.2.3',
    ...overrides,
  });
  return { client, clock };
}

/** The profiles of an import job. */
export const toImported = (payloads: readonly Uint8Array[]): ImportedPayloads => ({
  count: payloads.length,
  payloads: () => payloads,
});

export const toPayload = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

/** A promise that the test resolves. */
export function aPromise<T = void>() {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
