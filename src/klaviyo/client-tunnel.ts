import { request as requestPlain, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Socket } from 'node:net';
import { buildConnector } from 'undici';
import type { Clock } from '../clock.js';
import { toProxyHeaders } from './proxy.js';

/** The proxy did not do what it is there for. `code`: `PROXY_` and its status, or what else went wrong. */
export class ProxyError extends Error {
  readonly code: `PROXY_${string}`;

  constructor(code: ProxyError['code']) {
    super('the proxy failed');
    this.name = 'ProxyError';
    this.code = code;
  }
}

/** Keeps the code alone: an error's words may quote the address of the proxy. */
export function toProxyError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  const [first] = error instanceof AggregateError ? Array.from<unknown>(error.errors) : [error];
  const code = first instanceof Error && 'code' in first ? first.code : undefined;
  return new ProxyError(`PROXY_${typeof code === 'string' ? code : 'ERROR'}`);
}

export type TunnelOptions = {
  readonly proxy: URL;
  readonly clock: Clock;
  /** From connecting to the proxy to its answer, and as long again for TLS within the tunnel. */
  readonly timeoutMs: number;
  /** Of the proxy's answer. */
  readonly maxHeaderBytes: number;
  /** Ends tunnels that are being opened. */
  readonly signal: AbortSignal;
};

/** Connects by way of CONNECT (RFC 9110, 9.3.6), and speaks TLS with the server behind the proxy. */
export function createTunnelConnector(options: TunnelOptions): buildConnector.connector {
  const startTls = buildConnector({ timeout: options.timeoutMs });
  return (target, callback) => {
    const { hostname, port } = target;
    const name = hostname.includes(':') ? `[${hostname}]` : hostname;
    openTunnel(`${name}:${port === '' ? '443' : port}`, options).then(
      (httpSocket) => startTls({ ...target, httpSocket }, callback),
      (error: unknown) => callback(toProxyError(error), null),
    );
  };
}

function openTunnel(authority: string, options: TunnelOptions): Promise<Socket> {
  const { clock, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const request = requestTunnel(authority, options);
    const timer = clock.setTimer(timeoutMs, () => request.destroy(new ProxyError('PROXY_TIMEOUT')));
    request.once('connect', ({ statusCode = 0 }: IncomingMessage, socket: Socket, head: Buffer) => {
      timer.cancel();
      if (statusCode < 200 || statusCode > 299) {
        socket.on('error', () => undefined).destroy();
        reject(new ProxyError(`PROXY_${statusCode}`));
        return;
      }
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    request.once('error', (error) => {
      timer.cancel();
      reject(error);
    });
    request.end();
  });
}

function requestTunnel(authority: string, options: TunnelOptions): ClientRequest {
  const { proxy, signal, maxHeaderBytes: maxHeaderSize } = options;
  const isTls = proxy.protocol === 'https:';
  return (isTls ? requestTls : requestPlain)({
    method: 'CONNECT',
    hostname: proxy.hostname.replace(/^\[|\]$/g, ''),
    port: proxy.port === '' ? (isTls ? 443 : 80) : proxy.port,
    path: authority,
    // Node's own is `connection: close`, which some proxies keep to.
    headers: { host: authority, connection: 'keep-alive', ...toProxyHeaders(proxy) },
    agent: false,
    maxHeaderSize,
    signal,
  });
}
