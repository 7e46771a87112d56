import type { Clock, Timer } from '../clock.js';
import type { RedisAddress } from './address.js';
import { createClient, type Client } from './client.js';
import { UnavailableError, type Link, type Reply } from './link.js';

export type LinkOptions = {
  readonly address: RedisAddress;
  readonly clock: Clock;
  /** Time limit of one command. A server that is slower is taken to hang, and is connected to anew. */
  readonly timeoutMs: number;
};

/** What a server says that is up and cannot do what it is asked: a replica, one that loads, one whose memory or disk is full. */
const unable =
  /^(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|OOM|MISCONF|NOREPLICAS|TRYAGAIN|NOAUTH|UNBLOCKED)/;

export function createLink({ address, clock, timeoutMs }: LinkOptions): Link {
  const client = createClient(address, timeoutMs);
  const listeners = new Set<(isUp: boolean) => void>();
  let isUp = false;
  const become = (next: boolean): void => {
    if (isUp === next) return;
    isUp = next;
    for (const listener of [...listeners]) listener(next);
  };
  client.on('ready', () => become(true));
  for (const event of ['close', 'end', 'reconnecting']) client.on(event, () => become(false));
  // Each failed try is one; that it is away shows in `isUp`.
  client.on('error', () => undefined);

  const ask = async (make: () => Promise<unknown>): Promise<Reply> => {
    if (!isUp) throw new UnavailableError('it is not connected');
    try {
      return (await inTime(make(), client)) as Reply;
    } catch (error) {
      // The connection goes, and its end may not have been told yet.
      if (!(error instanceof Error && error.name === 'ReplyError')) become(false);
      throw toError(error);
    }
  };

  const inTime = async (work: Promise<unknown>, from: Client): Promise<unknown> => {
    let timer: Timer | undefined;
    const overdue = new Promise<never>((_resolve, reject) => {
      timer = clock.setTimer(timeoutMs, () => {
        // Whatever else waits would wait as long; a new connection tells whether it is there.
        cut(from);
        become(false);
        reject(new UnavailableError(`no answer after ${timeoutMs} ms`));
      });
    });
    try {
      return await Promise.race([work, overdue]);
    } finally {
      timer?.cancel();
    }
  };

  const call = (command: string, args: readonly (string | number | Uint8Array)[]) =>
    ask(() => client.callBuffer(command, ...args.map(toArgument)));

  return {
    isUp: () => isUp,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async run({ lua, sha }, key, args) {
      try {
        return await call('EVALSHA', [sha, 1, key, ...args]);
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
        return call('EVAL', [lua, 1, key, ...args]);
      }
    },
    call: (command, ...args) => call(command, args),
    untilUp(ms) {
      if (isUp) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (cameUp: boolean): void => {
          timer.cancel();
          listeners.delete(end);
          resolve(cameUp);
        };
        const timer = clock.setTimer(ms, () => end(false));
        listeners.add(end);
      });
    },
    async close() {
      listeners.clear();
      if (isUp) await client.quit().catch(() => undefined);
      client.disconnect();
    },
  };
}

/** Closed without a goodbye, which a server that hangs would not answer. It is connected to anew. */
function cut(client: Client): void {
  const nodes = 'nodes' in client ? client.nodes() : [client];
  for (const { stream } of nodes) stream.destroy();
}

function toArgument(value: string | number | Uint8Array): string | Buffer {
  if (typeof value === 'string') return value;
  return typeof value === 'number'
    ? String(value)
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** An error that the server answered with is one of the script, unless the server says of itself that it is unable. */
function toError(error: unknown): Error {
  if (error instanceof UnavailableError) return error;
  if (!(error instanceof Error)) return new UnavailableError(String(error));
  if (error.name === 'ReplyError' && !unable.test(error.message)) return error;
  return new UnavailableError(error.message, error);
}
