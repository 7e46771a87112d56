import { createHash } from 'node:crypto';
import { toScript, type Link } from './link.js';
import { serverTime } from './server-time.js';

/** caller, window ms, now or '' → {requests in the caller's window, ms until it ends}. */
const countScript = toScript(
  'count',
  `
${serverTime}
local now = math.floor(serverMs(ARGV[3]))
local windowMs = tonumber(ARGV[2])
local window = math.floor(now / windowMs)
local name = KEYS[1] .. ':' .. ARGV[1] .. ':' .. window
local count = redis.call('INCR', name)
if count == 1 then redis.call('PEXPIRE', name, 2 * windowMs) end
return {count, (window + 1) * windowMs - now}
`,
);

export type Counted = { readonly current: number; readonly ttlMs: number };

/** Counts a caller's requests over all relays, in windows by the server's time. Rejects with UnavailableError. */
export function createSharedCount(
  link: Link,
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
    const reply = await link.run(countScript, options.key, [name, options.windowMs, now]);
    const [current, ttlMs] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    return { current: Number(current), ttlMs: Number(ttlMs) };
  };
}
