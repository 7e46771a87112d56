import { createConnection, isIP, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Redis } from 'ioredis';
import type { Clock } from '../clock.js';
import type { RedisAddress, RedisHost, SentinelAuth } from './address.js';
import { Sentinels } from './sentinels.js';
import { createSlotLocator } from './cluster.js';

/** Longest wait before it is tried again whether a server is back, ms. */
const maxReconnectMs = 1000;

export type ClientOptions = {
  /** All keys have the hash tag of this one. */
  readonly key: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Connections in a row that were made and could not be used: the next is tried later. */
  readonly refusals: () => number;
  /** Of the sentinels. Absent: those of Redis. */
  readonly sentinelAuth?: SentinelAuth | undefined;
};

export type Client = {
  readonly redis: Redis;
  /** Where there are any: they have to be closed, too. */
  readonly sentinels: Sentinels | null;
};

/** Queues nothing while it is not connected, and sends nothing a second time by itself. */
export function createClient(address: RedisAddress, options: ClientOptions): Client {
  const { kind, hosts, isTls, database: db } = address;
  const shared = { ...toCommon(address, options), ...toAuth(address) };
  if (kind === 'single')
    return { redis: new Redis({ ...shared, ...hosts[0], db }), sentinels: null };
  if (kind === 'cluster') {
    const client = { ...shared, enableReadyCheck: false };
    const { locate, suspect } = createSlotLocator({ seeds: hosts, key: options.key, client });
    const reconnectOnError = (error: Error): boolean => {
      if (isSplit(error.message)) suspect();
      return isSplit(error.message) || isMoved(error.message);
    };
    const Connector = createLocatingConnector({ locate, isTls });
    return { redis: new Redis({ ...shared, Connector, reconnectOnError }), sentinels: null };
  }
  const { username, password } = options.sentinelAuth ?? address;
  const sentinels = new Sentinels({
    hosts,
    primary: address.primary ?? '',
    client: { ...toCommon(address, options), ...toAuth({ username, password }) },
    clock: options.clock,
  });
  const locate = (): Promise<RedisHost> => sentinels.locate();
  return {
    redis: new Redis({ ...shared, db, Connector: createLocatingConnector({ locate, isTls }) }),
    sentinels,
  };
}

function toCommon(address: RedisAddress, { timeoutMs, refusals }: ClientOptions) {
  return {
    ...(address.isTls && { tls: {} }),
    connectTimeout: timeoutMs,
    // Also those by which a connection makes sure that the server is ready.
    commandTimeout: 2 * timeoutMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times: number) => Math.min(maxReconnectMs, 50 * times + 250 * refusals()),
    // Whoever is the primary now, or has the slot, has to be found.
    reconnectOnError: (error: Error) => isMoved(error.message),
    connectionName: 'klaviyo-relay',
  };
}

type Auth = { readonly username?: string | undefined; readonly password?: string | undefined };

const toAuth = ({ username, password }: Auth) => ({
  ...(username !== undefined && { username }),
  ...(password !== undefined && { password }),
});

const isMoved = (reply: string): boolean =>
  /^(READONLY|MOVED|CLUSTERDOWN|MASTERDOWN)\b/.test(reply);

const isSplit = (reply: string): boolean => /^(ASK|TRYAGAIN)\b/.test(reply);

type LocatingOptions = {
  /** Where the server is now; asked anew for each connection. */
  readonly locate: () => Promise<RedisHost>;
  readonly isTls: boolean;
};

/** For ioredis: connects to a server that has to be found first, and may be another one each time. */
function createLocatingConnector({ locate, isTls }: LocatingOptions) {
  return class LocatingConnector extends AbstractConnector {
    constructor() {
      super(0);
    }

    /** Never rejects: ioredis would not try again. A socket that is destroyed makes it try later. */
    async connect() {
      this.connecting = true;
      let host: RedisHost | null = null;
      try {
        host = await locate();
      } catch (error) {
        this.firstError = error instanceof Error ? error : new Error(String(error));
      }
      // It may have been told to disconnect meanwhile.
      if (host === null || !(this.connecting as boolean)) {
        this.stream = new Socket().destroy();
        return this.stream;
      }
      this.stream = isTls ? toTlsStream(host) : createConnection(host);
      this.stream.once('error', (error) => (this.firstError = error));
      return this.stream;
    }
  };
}

const toTlsStream = (host: RedisHost): Socket =>
  connectTls({ ...host, ...(isIP(host.host) === 0 && { servername: host.host }) });
