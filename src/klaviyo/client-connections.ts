import { buildConnector, Client, Pool, type Dispatcher } from 'undici';
import type { Clock } from '../clock.js';
import { createTunnelConnector, toProxyError } from './client-tunnel.js';
import { toProxyHeaders } from './proxy.js';

export type ConnectionOptions = {
  readonly baseUrl: URL;
  /** Every connection goes through it. */
  readonly proxy: URL | null;
  /** Open at once, at most; further requests wait for one. */
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
};

/** Connections to Klaviyo, and what a request needs in order to go through them. */
export type Connections = {
  readonly pool: Pool;
  /** Before the path of each request. */
  readonly pathPrefix: string;
  /** Beside the headers of each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Cuts what is open or being opened. */
  destroy(): Promise<void>;
};

/**
 * A connection stays at the address that its name had when it was opened, for as long as it is busy. The
 * first request that finds it older than this is its last one, so a change of DNS is followed within this
 * time and one request. The TLS session is resumed, so that a new connection costs a round trip or two.
 */
const maxConnectionAgeMs = 10_000;
/** An idle connection is not kept for longer than this, whatever the server says. */
const maxIdleMs = 10_000;
/** Node's own default is 16 KiB; proxies that set cookies and policies need more. */
const maxHeaderBytes = 65_536;

/**
 * Plain HTTP goes through a proxy as a request for a whole URL, HTTPS through a tunnel, as with curl. Not
 * with undici's ProxyAgent: it does not bound the time of CONNECT, and drops its pool with each connection.
 */
export function createConnections(options: ConnectionOptions): Connections {
  const { baseUrl, proxy, clock, connectTimeoutMs: timeout } = options;
  const closing = new AbortController();
  const prefix = baseUrl.pathname.replace(/\/+$/, '');
  const isForwarded = proxy !== null && baseUrl.protocol === 'http:';
  const direct = buildConnector({ timeout });
  const connect = toConnector(options, { direct, signal: closing.signal });
  const pool = new Pool(isForwarded ? proxy.origin : baseUrl.origin, {
    connections: options.connections,
    pipelining: 1,
    connect,
    keepAliveMaxTimeout: maxIdleMs,
    maxHeaderSize: maxHeaderBytes,
    // The time limit of a request covers all of it, so that none of the parts needs one.
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

type Connecting = { readonly direct: buildConnector.connector; readonly signal: AbortSignal };

function toConnector(
  { baseUrl, proxy, clock, connectTimeoutMs }: ConnectionOptions,
  { direct, signal }: Connecting,
): buildConnector.connector {
  if (proxy === null) return direct;
  if (baseUrl.protocol === 'https:') {
    return createTunnelConnector({
      proxy,
      clock,
      timeoutMs: connectTimeoutMs,
      maxHeaderBytes,
      signal,
    });
  }
  return (options, callback) =>
    direct(options, (error, socket) => {
      if (error === null) callback(null, socket);
      else callback(toProxyError(error), null);
    });
}

/**
 * One connection at a time. undici's own `clientTtl` does not fit: it reads the wall clock, and with a
 * bound on connections requests hang (nodejs/undici#5144).
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
