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

/** A request as the far side saw it. */
export type Seen = {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
};

export type FarSide = {
  readonly url: string;
  /** Oldest first, whole requests alone. */
  readonly requests: readonly Seen[];
  close(): Promise<void>;
};

type Respond = (response: ServerResponse, seen: Seen) => void;

/** A server in Klaviyo's place. Answers each whole request with `respond`. */
export async function startFarSide(respond: Respond, host = '127.0.0.1'): Promise<FarSide> {
  const requests: Seen[] = [];
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

/** A server that speaks no HTTP by itself: `serve` gets each connection as it is. */
export async function startBareSide(serve: (socket: Socket) => void): Promise<FarSide> {
  const sockets = new Set<Socket>();
  const server = createSocketServer((socket) => {
    sockets.add(socket);
    // What the client does to the connection is its own affair.
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

export type JsonAnswer = {
  readonly status?: number;
  readonly body: unknown;
  readonly headers?: Record<string, string>;
};

export function answerJson(
  response: ServerResponse,
  { status = 200, body, headers = {} }: JsonAnswer,
): void {
  response.writeHead(status, { 'content-type': 'application/vnd.api+json', ...headers });
  response.end(JSON.stringify(body));
}

/** A client on a manual clock: no time passes unless a test says so. */
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

/** What an import job was given. */
export const toImported = (payloads: readonly Uint8Array[]): ImportedPayloads => ({
  count: payloads.length,
  payloads: () => payloads,
});

export const toPayload = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

/** A promise that a test keeps when what it waits for has happened. */
export function aPromise<T = void>() {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
