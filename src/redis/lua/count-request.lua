--- @include "time.lua"
-- Counts one request of a caller in the current window.
--
-- KEYS[1]  hash of this caller: `window` (number of the window), `count`
-- ARGV     length of a window in ms; the time in ms, or '' for the server's
-- Returns  {requests in the window, ms until the window ends}
local counter = KEYS[1]
local windowMs = tonumber(ARGV[1])
local now = math.floor(readServerMs(ARGV[2]))
local window = math.floor(now / windowMs)
if tonumber(redis.call('HGET', counter, 'window') or -1) ~= window then
  redis.call('DEL', counter)
  redis.call('HSET', counter, 'window', window)
  redis.call('PEXPIRE', counter, 2 * windowMs)
end
return { redis.call('HINCRBY', counter, 'count', 1), (window + 1) * windowMs - now }
