--- @include "lib.lua"
-- Releases claims whose reply never reached the relay.
--
-- ARGV     [1] time stamp; [2] relay; numbers of claims; last two: relay and change
-- Returns  {store state}
local now = readNow(ARGV[1])
allowWritesWhenFull()
recordChange()
for index = 3, #ARGV - 2 do
  -- The server may run the claim later: from now on it finds nothing (`mayClaim`).
  local fence = toNumber(redis.call('HGET', storeKey('fences'), ARGV[2]))
  redis.call('HSET', storeKey('fences'), ARGV[2], math.max(fence, tonumber(ARGV[index])))
  for _, lane in ipairs(lanes) do
    releaseClaims(lane, ARGV[2], 1e9, ARGV[index])
  end
end
return { readStoreState(now) }
