import { request as requestPlain, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Socket } from 'node:net';
import { buildConnector, Client, Pool, type Dispatcher } from 'undici';
import type { Clock } from '../clock.js';
import { toProxyHeaders } from './proxy.js';

/**
 * The connections to Klaviyo. As with curl, plain HTTP goes through a proxy as a request for the whole
 * URL, and HTTPS through a tunnel (CONNECT). undici's ProxyAgent is not used: it does not bound the time
 * of CONNECT, and it drops its pool with each connection.
 */
export type Connections = {
  readonly pool: Pool;
  /** Precedes the path of each request. */
  readonly pathPrefix: string;
  /** Sent with each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Closes all connections, and those that are being opened. */
  destroy(): Promise<void>;
};

export type ConnectionOptions = {
  readonly baseUrl: URL;
  /** Every connection goes through it. */
  readonly proxy: URL | null;
  /** The most connections that may be open. Further requests wait until one is free. */
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
};

/**
 * A busy connection keeps the address that the name had when the connection was opened. The first
 * request that finds it older than this is its last one, so that a change of DNS takes effect within
 * this time and one request. A new connection resumes the TLS session and costs a round trip or two.
 */
const maxConnectionAgeMs = 10_000;
/** An idle connection is closed after this time, even if the server would keep it for longer. */
const maxIdleMs = 10_000;
/** Node's default is 16 KiB. Proxies that set cookies and policies need more. */
const maxHeaderBytes = 65_536;

export function createConnections(options: ConnectionOptions): Connections {
  const { baseUrl, proxy, clock } = options;
  const closing = new AbortController();
  const prefix = baseUrl.pathname.replace(/\/+$/, '');
  const isForwarded = proxy !== null && baseUrl.protocol === 'http:';
  const pool = new Pool(isForwarded ? proxy.origin : baseUrl.origin, {
    connections: options.connections,
    pipelining: 1,
    connect: createConnector(options, closing.signal),
    keepAliveMaxTimeout: maxIdleMs,
    maxHeaderSize: maxHeaderBytes,
    // The transport's time limit covers the whole request.
    headersTimeout: 0,
    bodyTimeout: 0,
    factory: (origin, clientOptions) => new AgingClient(origin, clientOptions, clock),
  });
  return {
    pool,
    pathPrefix: isForwarded ? baseUrl.origin + prefix : prefix,
    headers: isForwarded ? { host: baseUrl.host, ...toProxyHeaders(proxy) } : {},
    async destroy() {
      closing.abort();
      await pool.destroy();
    },
  };
}

/**
 * A client with one connection, which it closes when the connection is old. undici's own `clientTtl` reads
 * the wall clock, and with a bound on connections requests hang (nodejs/undici#5144).
 */
class AgingClient extends Client {
  readonly #clock: Clock;
  #connectedAt: number | null = null;

  constructor(origin: URL, options: Client.Options, clock: Clock) {
    super(origin, options);
    this.#clock = clock;
    this.on('connect', () => {
      this.#connectedAt = clock.monotonic();
    });
    this.on('disconnect', () => {
      this.#connectedAt = null;
    });
  }

  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ): boolean {
    const at = this.#connectedAt;
    const isOld = at !== null && this.#clock.monotonic() - at >= maxConnectionAgeMs;
    return super.dispatch(isOld ? { ...options, reset: true } : options, handler);
  }
}

/** Connects directly, to a forwarding proxy, or through a tunnel of the proxy. */
function createConnector(
  { baseUrl, proxy, clock, connectTimeoutMs }: ConnectionOptions,
  closing: AbortSignal,
): buildConnector.connector {
  const connect = buildConnector({ timeout: connectTimeoutMs });
  if (proxy === null) return connect;
  if (baseUrl.protocol !== 'https:') {
    return (target, callback) =>
      connect(target, (error, socket) => {
        if (error === null) callback(null, socket);
        else callback(toProxyError(error), null);
      });
  }
  return (target, callback) => {
    const { hostname, port } = target;
    const host = hostname.includes(':') ? `[${hostname}]` : hostname;
    const authority = `${host}:${port === '' ? '443' : port}`;
    openTunnel(authority, { proxy, clock, timeoutMs: connectTimeoutMs, closing }).then(
      // TLS with the server behind the proxy has the same time limit again.
      (httpSocket) => connect({ ...target, httpSocket }, callback),
      (error: unknown) => callback(toProxyError(error), null),
    );
  };
}

type TunnelOptions = {
  readonly proxy: URL;
  readonly clock: Clock;
  /** From connecting to the proxy until its response has arrived. */
  readonly timeoutMs: number;
  /** Ends tunnels that are being opened. */
  readonly closing: AbortSignal;
};

/** Opens a tunnel with CONNECT (RFC 9110, 9.3.6). */
function openTunnel(authority: string, options: TunnelOptions): Promise<Socket> {
  const { clock, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const request = createTunnelRequest(authority, options);
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

function createTunnelRequest(authority: string, { proxy, closing }: TunnelOptions): ClientRequest {
  const isTls = proxy.protocol === 'https:';
  return (isTls ? requestTls : requestPlain)({
    method: 'CONNECT',
    hostname: proxy.hostname.replace(/^\[|\]$/g, ''),
    port: proxy.port === '' ? (isTls ? 443 : 80) : proxy.port,
    path: authority,
    // Node's default is `connection: close`, and some proxies then close the tunnel.
    headers: { host: authority, connection: 'keep-alive', ...toProxyHeaders(proxy) },
    agent: false,
    maxHeaderSize: maxHeaderBytes,
    signal: closing,
  });
}

/** The proxy failed. `code` is `PROXY_` and its status, or the code of another error. */
class ProxyError extends Error {
  readonly code: `PROXY_${string}`;

  constructor(code: ProxyError['code']) {
    super('the proxy failed');
    this.name = 'ProxyError';
    this.code = code;
  }
}

/** Keeps only the code, because an error's message may quote the address of the proxy. */
function toProxyError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  const [first] = error instanceof AggregateError ? Array.from<unknown>(error.errors) : [error];
  const code = first instanceof Error && 'code' in first ? first.code : undefined;
  return new ProxyError(`PROXY_${typeof code === 'string' ? code : 'ERROR'}`);
}
