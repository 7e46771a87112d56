--- @include "lib.lua"
-- Reads a page of the delivery log, newest first.
--
-- ARGV     [1] the order to begin with; [2] most entries
-- Returns  {{order, JSON, order, JSON, …}, the order of the next page or 0}
local last = toNumber(redis.call('HGET', storeKey('meta'), 'delivery'))
local first = toNumber(redis.call('HGET', storeKey('meta'), 'firstDelivery') or 1)
local order = math.min(last, tonumber(ARGV[1]))
local found = {}
while order >= first and #found < 2 * tonumber(ARGV[2]) do
  local text = redis.call('HGET', storeKey('deliveries'), order)
  if text then
    found[#found + 1] = order
    found[#found + 1] = text
  end
  order = order - 1
end
return { found, order >= first and order or 0 }
