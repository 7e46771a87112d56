import { createHash } from 'node:crypto';
import type { RedisConnection } from './connection.js';
import { loadScript } from './load-script.js';

/** Its only key is the counter of the caller. */
const countRequest = loadScript(new URL('lua/count-request.lua', import.meta.url), { keys: [] });

export type Counted = { readonly current: number; readonly ttlMs: number };

/** Counts a caller's requests at all relays, in windows of the server's time. Rejects with UnavailableError. */
export function createSharedCount(
  connection: RedisConnection,
  options: {
    readonly key: string;
    readonly windowMs: number;
    readonly time?: (() => number) | undefined;
  },
): (caller: string) => Promise<Counted> {
  return async (caller) => {
    // `caller` is an API key or an address, which must not be readable in Redis.
    const name = createHash('sha256').update(caller).digest('base64url').slice(0, 22);
    const now = options.time === undefined ? '' : Math.round(options.time());
    const key = `${options.key}:${name}`;
    const reply = await connection.run(countRequest, key, [options.windowMs, now]);
    const [current, ttlMs] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    return { current: Number(current), ttlMs: Number(ttlMs) };
  };
}
