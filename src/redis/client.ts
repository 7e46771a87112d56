import { createConnection, isIP, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Redis } from 'ioredis';
import type { Clock } from '../clock.js';
import type { RedisAddress, RedisHost, SentinelAuth } from './address.js';
import { Sentinels } from './sentinels.js';
import { createSlotLocator } from './cluster.js';
import { toError } from '../error.js';

/** Longest wait before the next attempt to connect, ms. */
const maxReconnectMs = 1000;

export type ClientOptions = {
  /** All keys have the same hash tag as this key. */
  readonly key: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Consecutive connections that were made and could not be used: each delays the next attempt. */
  readonly failedConnections: () => number;
  /** User and password of the sentinels. Absent: those of the server. */
  readonly sentinelAuth?: SentinelAuth | undefined;
};

export type Client = {
  readonly redis: Redis;
  /** Null without sentinels. The caller closes them together with the client. */
  readonly sentinels: Sentinels | null;
};

/** Creates a client that queues nothing while it is not connected and never repeats a command by itself. */
export function createClient(address: RedisAddress, options: ClientOptions): Client {
  const { kind, hosts, isTls, database: db } = address;
  const shared = { ...toCommon(address, options), ...toAuth(address) };
  if (kind === 'single')
    return { redis: new Redis({ ...shared, ...hosts[0], db }), sentinels: null };
  if (kind === 'cluster') {
    const client = { ...shared, enableReadyCheck: false };
    const { locate, reportMissingKeys } = createSlotLocator({
      seeds: hosts,
      key: options.key,
      client,
    });
    const reconnectOnError = (error: Error): boolean => {
      if (isSplit(error.message)) reportMissingKeys();
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

function toCommon(address: RedisAddress, { timeoutMs, failedConnections }: ClientOptions) {
  return {
    ...(address.isTls && { tls: {} }),
    connectTimeout: timeoutMs,
    // This limit holds for the commands of the ready check, too.
    commandTimeout: 2 * timeoutMs,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times: number) =>
      Math.min(maxReconnectMs, 50 * times + 250 * failedConnections()),
    // Another server is the primary now, or owns the slot: a new connection finds it.
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
  /** Finds the server; called for each connection. */
  readonly locate: () => Promise<RedisHost>;
  readonly isTls: boolean;
};

/** A connector for ioredis that finds the server first, which may be another one for each connection. */
function createLocatingConnector({ locate, isTls }: LocatingOptions) {
  return class LocatingConnector extends AbstractConnector {
    constructor() {
      super(0);
    }

    /** Never rejects, because ioredis would not try again. A destroyed socket makes it try later. */
    async connect() {
      this.connecting = true;
      let host: RedisHost | null = null;
      try {
        host = await locate();
      } catch (error) {
        this.firstError = toError(error);
      }
      // `disconnect` may have been called in the meantime.
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
