--- @include "limiter.lua"
-- Adds the recent requests of one relay to a state that may have lost them. A relay that creates the
-- state cannot distinguish a first start from a lost state, so all endpoints pause until the other relays
-- have reported theirs.
--
-- ARGV     [5] a generation for a new state; [6] ms of the pause if the state is new; [7] ms of the pause
--          in any case; then four for each request: endpoint, permit, `flight` or `ended`, ms until the
--          request counts as ended (`flight`) or since it ended (`ended`)
-- Returns  the generation
local isNew = redis.call('HSETNX', meta, 'generation', ARGV[5]) == 1
local pauseMs = math.max(isNew and tonumber(ARGV[6]) or 0, tonumber(ARGV[7]))
for index = 8, #ARGV, 4 do
  local endpoint, permit, state, ms = ARGV[index], ARGV[index + 1], ARGV[index + 2], tonumber(ARGV[index + 3])
  if state == 'flight' then
    redis.call('ZADD', endpointKey(endpoint, 'flight'), formatMs(now + ms), permit)
  else
    redis.call('ZADD', endpointKey(endpoint, 'ended'), formatMs(now - ms), permit)
  end
end
if pauseMs > 0 then
  for endpoint in pairs(windowsByEndpoint) do
    pauseEndpoint(endpoint, now + pauseMs)
  end
end
return redis.call('HGET', meta, 'generation')
