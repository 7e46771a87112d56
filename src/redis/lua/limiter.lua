--- @include "time.lua"
-- The rules of src/delivery/limiter (token bucket, rate windows, pacer) inside the server, for all relays
-- of an account. Every limiter script includes this file.
--
-- KEYS[1] is the prefix. Keys below it:
-- - `meta`: hash. Steady time (time.lua), `generation`, `tokens`, `tokensAt`, and per endpoint
--   `ENDPOINT:dueAt`, `ENDPOINT:spacing`, `ENDPOINT:pausedUntil` and `ENDPOINT:limit:WINDOWMS` (the limit
--   that Klaviyo announced).
-- - `ENDPOINT:flight`: sorted set. Permit → ms when the request counts as ended if no relay ends it.
-- - `ENDPOINT:ended`: sorted set. Permit → ms when the request ended.
-- - `ENDPOINT:foreign`: sorted set. `WINDOWMS/permit/number` → ms until when a client outside these relays
--   occupies a place of the window.
--
-- ARGV of every script: [1] the time stamp (`toStamp` in server-time.ts), [2] refill of the bucket per
-- second, [3] size of the bucket, [4] JSON of the windows by endpoint, shortest first. Times are in ms.
-- `constants.burstShare` is that of src/model/limiter.ts.
local prefix = KEYS[1]
local meta = prefix .. ':meta'
local time = readSteadyTime(meta, ARGV[1])
saveSteadyTime(meta, time)
local now = time.now
local tokensPerMs, bucketSize = tonumber(ARGV[2]) / 1000, tonumber(ARGV[3])
local windowsByEndpoint = cjson.decode(ARGV[4])

local function toNumber(value) return tonumber(value or 0) end

local function formatMs(ms) return string.format('%.6f', ms) end

local function readMeta(field) return toNumber(redis.call('HGET', meta, field)) end

local function writeMeta(field, value) redis.call('HSET', meta, field, formatMs(value)) end

local function endpointKey(endpoint, name) return prefix .. ':' .. endpoint .. ':' .. name end

local function readTokens()
  local saved = redis.call('HMGET', meta, 'tokens', 'tokensAt')
  if not saved[1] then return bucketSize end
  local refill = math.max(0, now - toNumber(saved[2])) * tokensPerMs
  return math.min(bucketSize, toNumber(saved[1]) + refill)
end

local function writeTokens(tokens)
  writeMeta('tokens', tokens)
  writeMeta('tokensAt', now)
end

-- Moves requests to `ended` that no relay ended and that can no longer be under way.
local function expireRequests(endpoint)
  local flight = endpointKey(endpoint, 'flight')
  local expired = redis.call('ZRANGEBYSCORE', flight, '-inf', now, 'WITHSCORES')
  for index = 1, #expired, 2 do
    redis.call('ZREM', flight, expired[index])
    redis.call('ZADD', endpointKey(endpoint, 'ended'), expired[index + 1], expired[index])
  end
end

-- State of a window: its limit, the requests in flight, and when each occupied place is free again,
-- ascending.
local function readWindow(endpoint, window)
  local freeAt = {}
  local after = '(' .. formatMs(now - window.windowMs)
  local ended = redis.call('ZRANGEBYSCORE', endpointKey(endpoint, 'ended'), after, '+inf', 'WITHSCORES')
  for index = 2, #ended, 2 do
    freeAt[#freeAt + 1] = tonumber(ended[index]) + window.windowMs
  end
  local foreign =
    redis.call('ZRANGEBYSCORE', endpointKey(endpoint, 'foreign'), '(' .. formatMs(now), '+inf', 'WITHSCORES')
  for index = 1, #foreign, 2 do
    if tonumber(string.match(foreign[index], '^%d+')) == window.windowMs then
      freeAt[#freeAt + 1] = tonumber(foreign[index + 1])
    end
  end
  table.sort(freeAt)
  local announced = redis.call('HGET', meta, endpoint .. ':limit:' .. window.windowMs)
  return {
    limit = announced and math.min(window.limit, toNumber(announced)) or window.limit,
    windowMs = window.windowMs,
    freeAt = freeAt,
    flight = redis.call('ZCARD', endpointKey(endpoint, 'flight')),
  }
end

local function readWindows(endpoint)
  local windows = {}
  for index, window in ipairs(windowsByEndpoint[endpoint]) do
    windows[index] = readWindow(endpoint, window)
  end
  return windows
end

-- Ms that stand for "no known time": only the end of a request in flight frees a place.
local unknownWaitMs = 1e15

-- Ms until the window has a free place.
local function findPlaceWaitMs(window)
  local excess = window.flight + #window.freeAt - window.limit
  if excess < 0 then return 0 end
  local freeAt = window.freeAt[excess + 1]
  return freeAt and math.max(0, freeAt - now) or unknownWaitMs
end

-- Ms between two requests that spread the free places evenly over the window.
local function findEvenSpacing(window)
  local free = window.limit - window.flight - #window.freeAt
  local spacing = window.windowMs / window.limit
  for index, freeAt in ipairs(window.freeAt) do
    spacing = math.max(spacing, (freeAt - now) / math.max(1, free + index))
  end
  return spacing
end

-- Number of requests that may leave at once.
local function findBurst(windows)
  if #windows == 0 then return 1 end
  local shortest, longest = windows[1], windows[#windows]
  if #windows == 1 then return math.max(1, math.floor(shortest.limit * constants.burstShare)) end
  local evenly = math.ceil(shortest.windowMs / (longest.windowMs / longest.limit))
  return math.max(1, shortest.limit - evenly)
end

-- The spacing in ms after the newest request. Before the first one it is even over the longest window.
local function readSpacing(endpoint, windows)
  local spacing = readMeta(endpoint .. ':spacing')
  if spacing > 0 then return spacing end
  local longest = windows[#windows]
  return longest.windowMs / longest.limit
end

local function pauseEndpoint(endpoint, untilMs)
  local windows = readWindows(endpoint)
  writeMeta(endpoint .. ':pausedUntil', math.max(readMeta(endpoint .. ':pausedUntil'), untilMs))
  if #windows == 0 then return end
  local dueAt = untilMs + (findBurst(windows) - 1) * readSpacing(endpoint, windows)
  writeMeta(endpoint .. ':dueAt', math.max(readMeta(endpoint .. ':dueAt'), dueAt))
end

-- Removes ended requests that lie outside the longest window.
local function dropOldRequests(endpoint)
  local windows = windowsByEndpoint[endpoint]
  local longestMs = windows[#windows] and windows[#windows].windowMs or 0
  redis.call('ZREMRANGEBYSCORE', endpointKey(endpoint, 'ended'), '-inf', formatMs(now - longestMs))
end
