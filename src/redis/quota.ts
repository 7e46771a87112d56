import { createHash } from 'node:crypto';
import type { RedisConnection } from './connection.js';
import { loadScript } from './load-script.js';

/** Its only key is the one of the caller. */
const countRequest = loadScript(new URL('lua/count-request.lua', import.meta.url), { keys: [] });

export type Counted = { readonly current: number; readonly ttlMs: number };

/** Counts a caller's requests over all relays, in windows by the server's time. Rejects with UnavailableError. */
export function createSharedCount(
  connection: RedisConnection,
  options: {
    readonly key: string;
    readonly windowMs: number;
    readonly time?: (() => number) | undefined;
  },
): (caller: string) => Promise<Counted> {
  return async (caller) => {
    // A caller is named by its key or its address, which nobody should find in Redis.
    const name = createHash('sha256').update(caller).digest('base64url').slice(0, 22);
    const now = options.time === undefined ? '' : Math.round(options.time());
    const key = `${options.key}:${name}`;
    const reply = await connection.run(countRequest, key, [options.windowMs, now]);
    const [current, ttlMs] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    return { current: Number(current), ttlMs: Number(ttlMs) };
  };
}
