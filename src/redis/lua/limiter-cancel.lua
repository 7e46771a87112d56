--- @include "limiter.lua"
-- Returns a permit that was not used.
--
-- ARGV     [5] endpoint; [6] name of the permit
-- Returns  0
local endpoint, permit = ARGV[5], ARGV[6]
if redis.call('ZREM', endpointKey(endpoint, 'flight'), permit) == 0 then return 0 end
writeTokens(math.min(bucketSize, readTokens() + 1))
if #windowsByEndpoint[endpoint] > 0 then
  writeMeta(endpoint .. ':dueAt', readMeta(endpoint .. ':dueAt') - readMeta(endpoint .. ':spacing'))
end
return 0
