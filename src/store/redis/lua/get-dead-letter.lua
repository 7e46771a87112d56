--- @include "lib.lua"
-- ARGV     [1] lane; [2] seq
-- Returns  the dead letter, or nil
local order = redis.call('ZSCORE', storeKey('letter-orders'), ARGV[1] .. ' ' .. ARGV[2])
return order and redis.call('HGET', storeKey('letters'), order)
