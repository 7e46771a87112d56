--- @include "lib.lua"
--- @include "facts.lua"
-- Stores facts. The newest fact of a key replaces the others; the newest is last.
--
-- ARGV     as in facts.lua; maxCount of each kind; then for each fact kind, key and value
-- Returns  the number of facts
-- Errors   RELAY_NOEPOCH if the store's keys are missing
local maxCount, putCount = tonumber(ARGV[firstArgument]), (#ARGV - firstArgument) / 3
local meta, memoOrders = storeKey('meta'), storeKey('memo-orders')
if not redis.call('HGET', meta, 'epoch') then
  return redis.error_reply('RELAY_NOEPOCH the keys of the store are missing')
end

local function ordersKey(kind) return storeKey('facts:' .. kind) end

-- Arguments of ZADD by kind: order, key, order, key, …
local ordersByKind, newestIndex = {}, {}
for _, kind in ipairs(factKinds) do
  ordersByKind[kind] = {}
end
for index = 1, putCount do
  newestIndex[ARGV[firstArgument + 3 * index - 1]] = index
end
local orderBefore = redis.call('HINCRBY', meta, 'fact', putCount) - putCount
if maxCount > 0 then
  local keys, records = {}, {}
  for index = 1, putCount do
    local last = firstArgument + 3 * index
    local kind, key, value = ARGV[last - 2], ARGV[last - 1], ARGV[last]
    if newestIndex[key] == index then
      keys[#keys + 1] = key
      records[#records + 1] = key
      records[#records + 1] = kind .. ' ' .. now .. ' ' .. value
      local orders = ordersByKind[kind]
      orders[#orders + 1] = orderBefore + index
      orders[#orders + 1] = key
    end
  end
  local previous = readFields(facts, keys)
  for kind, orders in pairs(ordersByKind) do
    for index = 2, #orders, 2 do
      local record = previous[orders[index]]
      local previousKind = record and string.match(record, '^%a+')
      if previousKind and previousKind ~= kind then
        redis.call('ZREM', ordersKey(previousKind), orders[index])
      end
    end
    callInBulk('ZADD', ordersKey(kind), orders)
  end
  callInBulk('HSET', facts, records)
  if redis.call('EXISTS', memos) == 1 then
    callInBulk('HDEL', memos, keys)
    callInBulk('ZREM', memoOrders, keys)
  end
end

-- Drops facts of a kind beyond count and age, oldest first, and a bounded number for each script.
local function dropExcessFacts(kind)
  local most = #ordersByKind[kind] / 2 + constants.extraFactDrops
  local excess = math.min(redis.call('ZCARD', ordersKey(kind)) - maxCount, most)
  local dropped = {}
  if excess > 0 then dropped = redis.call('ZRANGE', ordersKey(kind), 0, excess - 1) end
  while #dropped < most do
    local key = redis.call('ZRANGE', ordersKey(kind), #dropped, #dropped)[1]
    local record = key and redis.call('HGET', facts, key)
    if not key or (record and not isExpired(record)) then break end
    dropped[#dropped + 1] = key
  end
  if #dropped == 0 then return end
  callInBulk('HDEL', facts, dropped)
  redis.call('ZREMRANGEBYRANK', ordersKey(kind), 0, #dropped - 1)
end
-- Kinds without a new fact lose expired facts, too: one kind with each script.
local kindInTurn = factKinds[orderBefore % #factKinds + 1]
for _, kind in ipairs(factKinds) do
  if kind == kindInTurn or maxCount == 0 or #ordersByKind[kind] > 0 then dropExcessFacts(kind) end
end

-- Facts about people replace what an earlier version wrote, and one bound holds for both together.
local peopleCount = redis.call('ZCARD', memoOrders)
if peopleCount > 0 then
  for _, kind in ipairs(factKinds) do
    if kind ~= 'delivery' then peopleCount = peopleCount + redis.call('ZCARD', ordersKey(kind)) end
  end
  local excess = math.min(peopleCount - maxCount, putCount + constants.extraFactDrops)
  if excess > 0 then
    callInBulk('HDEL', memos, redis.call('ZRANGE', memoOrders, 0, excess - 1))
    redis.call('ZREMRANGEBYRANK', memoOrders, 0, excess - 1)
  end
end
return putCount
