import { createConnection, isIP, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector } from 'ioredis';
import type { RedisHost } from './address.js';

export type LocatedOptions = {
  /** Where the server is now; asked anew for each connection. */
  readonly locate: () => Promise<RedisHost>;
  readonly isTls: boolean;
};

/** For ioredis: connects to a server that has to be found first, and may be another one each time. */
export function toLocatedConnector({ locate, isTls }: LocatedOptions) {
  return class LocatedConnector extends AbstractConnector {
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
