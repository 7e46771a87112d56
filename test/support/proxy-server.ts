import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Certificate } from './certificate.js';

export type ProxyServer = {
  readonly url: string;
  /** Request lines that the proxy received, oldest first: `CONNECT host:port`, `POST http://…`. */
  readonly requests: readonly { readonly line: string; readonly authorization: string | null }[];
  close(): Promise<void>;
};

export type ProxyOptions = {
  /** Response to CONNECT in place of a tunnel; with `null` the proxy never responds. */
  readonly connectResponse?: string | null;
  /** Certificate for TLS connections of its clients. */
  readonly certificate?: Certificate;
};

/** Starts an HTTP proxy that handles CONNECT and requests with an absolute URL. */
export async function startProxy({
  connectResponse: reject,
  certificate,
}: ProxyOptions = {}): Promise<ProxyServer> {
  const requests: { line: string; authorization: string | null }[] = [];
  const sockets = new Set<Duplex>();
  const recordRequest = ({ method, url, headers }: IncomingMessage): void => {
    const authorization = headers['proxy-authorization'] ?? null;
    requests.push({ line: `${method} ${url}`, authorization });
  };
  const server = certificate === undefined ? createServer() : createTlsServer(certificate);
  server.on('request', (request: IncomingMessage, response) => {
    recordRequest(request);
    const { method, headers } = request;
    const onward = httpRequest(request.url ?? '', { method, headers }, (result) => {
      response.writeHead(result.statusCode ?? 500, result.headers);
      result.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    recordRequest(request);
    sockets.add(socket.on('error', () => undefined));
    if (reject === null) return;
    if (reject !== undefined) {
      socket.end(reject);
      return;
    }
    const [host, port] = (request.url ?? '').split(':');
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      target.pipe(socket).pipe(target);
    });
    sockets.add(target.on('error', () => socket.destroy()));
    socket.on('close', () => target.destroy());
    target.on('close', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const scheme = certificate === undefined ? 'http' : 'https';
  return {
    // A TCP server has an address and a port.
    url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async close() {
      server.close();
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
