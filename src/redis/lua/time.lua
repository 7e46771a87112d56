-- Time for scripts of several relays: relays share the server's clock, not their own.

-- The server's time in ms, with microseconds behind the point. A test gives another time as `given`;
-- '' stands for none.
local function readServerMs(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end

-- What the way to the server may add to the time that a relay measured between two scripts, ms.
local transitSlackMs = 1000

-- Steady time runs at the pace of the server's clock and follows none of its steps: an operator may set
-- the clock, and after a failover it is the clock of another server. A step backwards counts as no time.
-- A step forwards is recognised by an upper bound of the time that can have passed: the time that the
-- relay measured since its last script or, for its first script, the time by which its wall clock is
-- ahead of the saved one. A longer time is replaced by this bound.
--
-- The hash `meta` stores `clock` (steady time at the last save), `ahead` (steady time minus the server's
-- clock at that moment) and `wall` (wall clock of the relay that saved). `stamp` comes from `toStamp`
-- (server-time.ts).
local function readSteadyTime(meta, stamp)
  local given, elapsed, wall = string.match(stamp, '^(%S*) (%S*) (%S*)$')
  local serverMs = readServerMs(given)
  local saved = redis.call('HMGET', meta, 'clock', 'ahead', 'wall')
  if not saved[1] then return { now = serverMs, serverMs = serverMs, wall = wall } end
  local clock = tonumber(saved[1])
  local passed = math.max(0, serverMs + tonumber(saved[2] or 0) - clock)
  local mostPassed = tonumber(elapsed)
  if not mostPassed and wall ~= '' and saved[3] then
    mostPassed = math.max(0, tonumber(wall) - tonumber(saved[3]))
  end
  if mostPassed and passed > mostPassed + transitSlackMs then passed = mostPassed end
  return { now = clock + passed, serverMs = serverMs, wall = wall }
end

local function saveSteadyTime(meta, time)
  local ahead = string.format('%.6f', time.now - time.serverMs)
  redis.call('HSET', meta, 'clock', string.format('%.6f', time.now), 'ahead', ahead)
  if time.wall ~= '' then redis.call('HSET', meta, 'wall', time.wall) end
end
