import { createHash } from 'node:crypto';
import { toScript, type RedisConnection } from './connection.js';
import { serverTime } from './server-time.js';

/** Its key is the caller's: a hash of window and count. Window ms, now or '' → {requests in the window, ms until it ends}. */
const countScript = toScript(
  'count',
  [],
  `
${serverTime}
local name = KEYS[1]
local now = math.floor(serverMs(ARGV[2]))
local windowMs = tonumber(ARGV[1])
local window = math.floor(now / windowMs)
if tonumber(redis.call('HGET', name, 'window') or -1) ~= window then
  redis.call('DEL', name)
  redis.call('HSET', name, 'window', window)
  redis.call('PEXPIRE', name, 2 * windowMs)
end
return {redis.call('HINCRBY', name, 'count', 1), (window + 1) * windowMs - now}
`,
);

export type Counted = { readonly current: number; readonly ttlMs: number };

/** Counts a caller's requests over all relays, in windows by the server's time. Rejects with UnavailableError. */
export function createSharedCount(
  link: RedisConnection,
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
    const reply = await link.run(countScript, key, [options.windowMs, now]);
    const [current, ttlMs] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    return { current: Number(current), ttlMs: Number(ttlMs) };
  };
}
