--- @include "lib.lua"
-- ARGV     [1] id
-- Returns  JSON, or nil
local order = redis.call('HGET', storeKey('delivery-orders'), ARGV[1])
return order and redis.call('HGET', storeKey('deliveries'), order)
