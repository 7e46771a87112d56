/** In Lua: `serverMs(given)`, with microseconds behind the point: the server's own time, where `given` is ''. */
export const serverTime = `
local function serverMs(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end
`;

/** What the way to the server may add to the time that a relay measured between two scripts. */
const slackMs = 1000;

/**
 * In Lua: `toSteady(meta, stamp)` and `keepSteady(meta, time)`. Time that goes on at the pace of the
 * server's clock and follows none of its steps: the clock may be set, and after a failover it is another
 * server's. A step backwards counts as no time. A step forwards shows because no more time can have
 * passed than the relay measured since its last script, or, for its first one, than its wall clock is
 * ahead of the one that was kept: then that much counts.
 *
 * `meta` keeps `clock`, the time that was reached, `ahead`, by how much that is ahead of the server's
 * clock, and `wall`. `stamp` is from `toStamp`.
 */
export const steadyTime = `${serverTime}
local function toSteady(meta, stamp)
  local given, elapsed, wall = string.match(stamp, '^(%S*) (%S*) (%S*)$')
  local raw = serverMs(given)
  local kept = redis.call('HMGET', meta, 'clock', 'ahead', 'wall')
  if not kept[1] then return {now = raw, raw = raw, wall = wall} end
  local clock = tonumber(kept[1])
  local passed = math.max(0, raw + tonumber(kept[2] or 0) - clock)
  local most = tonumber(elapsed)
  if not most and wall ~= '' and kept[3] then most = math.max(0, tonumber(wall) - tonumber(kept[3])) end
  if most and passed > most + ${slackMs} then passed = most end
  return {now = clock + passed, raw = raw, wall = wall}
end
local function keepSteady(meta, time)
  redis.call('HSET', meta, 'clock', string.format('%.6f', time.now), 'ahead', string.format('%.6f', time.now - time.raw))
  if time.wall ~= '' then redis.call('HSET', meta, 'wall', time.wall) end
end
`;

export type Stamp = {
  /** Ms that stand in for the server's clock, in tests. */
  readonly given: number | undefined;
  /** Ms since this relay's last script of which the server kept the time; null for its first one. */
  readonly elapsedMs: number | null;
  /** By the wall clock of the relay; null where it is not kept. */
  readonly wall: number | null;
};

export function toStamp({ given, elapsedMs, wall }: Stamp): string {
  return [given?.toFixed(3), elapsedMs?.toFixed(3), wall?.toFixed(0)]
    .map((each) => each ?? '')
    .join(' ');
}
