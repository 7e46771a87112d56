import { extraDrops } from '../facts.js';
import { libLua, toScript } from './lib-script.js';

/** Begins with what both scripts read: now, then the age bound of each kind in ms, -1 for none. */
const bounds = `
local now = toNow(ARGV[1])
local facts, memos = K .. ':facts', K .. ':memos'
local maxAges = {}
for index, kind in ipairs(factKinds) do maxAges[kind] = tonumber(ARGV[1 + index]) end
local first = 2 + #factKinds

-- A record is kind, time and value, with a space between.
local function isExpired(record)
  local kind, at = string.match(record, '^(%a+) (%d+) ')
  local maxAge = maxAges[kind] or -1
  return maxAge >= 0 and tonumber(at) + maxAge <= now
end
`;

/** now, ages, maxCount, then kind, key and value of each fact → how many. The newest of a key comes last. */
export const putFactsScript = toScript(
  'put-facts',
  `${libLua}${bounds}
local maxCount, given = tonumber(ARGV[first]), (#ARGV - first) / 3
local meta, memoOrders = K .. ':meta', K .. ':memo-orders'
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('RELAY_NOEPOCH the buffer is not there') end

local function orders(kind) return K .. ':facts:' .. kind end

local puts, names, newest = {}, {}, {}
for _, kind in ipairs(factKinds) do puts[kind] = {} end
for index = 1, given do newest[ARGV[first + 3 * index - 1]] = index end
local order = redis.call('HINCRBY', meta, 'fact', given) - given
if maxCount > 0 then
  local records = {}
  for index = 1, given do
    local at = first + 3 * index
    local kind, name, value = ARGV[at - 2], ARGV[at - 1], ARGV[at]
    if newest[name] == index then
      names[#names + 1] = name
      records[#records + 1] = name
      records[#records + 1] = kind .. ' ' .. now .. ' ' .. value
      local put = puts[kind]
      put[#put + 1] = order + index
      put[#put + 1] = name
    end
  end
  local known = fields(facts, names)
  for kind, put in pairs(puts) do
    for index = 2, #put, 2 do
      local record = known[put[index]]
      local before = record and string.match(record, '^%a+')
      if before and before ~= kind then redis.call('ZREM', orders(before), put[index]) end
    end
    bulk('ZADD', orders(kind), put)
  end
  bulk('HSET', facts, records)
  if redis.call('EXISTS', memos) == 1 then
    bulk('HDEL', memos, names)
    bulk('ZREM', memoOrders, names)
  end
end

-- Beyond the count and the age, oldest first.
local function drop(kind)
  local most = #puts[kind] / 2 + ${extraDrops}
  local excess = math.min(redis.call('ZCARD', orders(kind)) - maxCount, most)
  local gone = {}
  if excess > 0 then gone = redis.call('ZRANGE', orders(kind), 0, excess - 1) end
  while #gone < most do
    local name = redis.call('ZRANGE', orders(kind), #gone, #gone)[1]
    local record = name and redis.call('HGET', facts, name)
    if not name or (record and not isExpired(record)) then break end
    gone[#gone + 1] = name
  end
  if #gone == 0 then return end
  bulk('HDEL', facts, gone)
  redis.call('ZREMRANGEBYRANK', orders(kind), 0, #gone - 1)
end
-- Kinds that no fact is put of lose what is too old, too: one kind with each call.
local turn = factKinds[order % #factKinds + 1]
for _, kind in ipairs(factKinds) do
  if kind == turn or maxCount == 0 or #puts[kind] > 0 then drop(kind) end
end

-- Facts about people take the place of what an earlier version wrote, with one bound for both together.
local left = redis.call('ZCARD', memoOrders)
if left > 0 then
  for _, kind in ipairs(factKinds) do
    if kind ~= 'delivery' then left = left + redis.call('ZCARD', orders(kind)) end
  end
  local excess = math.min(left - maxCount, given + ${extraDrops})
  if excess > 0 then
    bulk('HDEL', memos, redis.call('ZRANGE', memoOrders, 0, excess - 1))
    redis.call('ZREMRANGEBYRANK', memoOrders, 0, excess - 1)
  end
end
return given
`,
);

/** now, ages, keys → the value of each, or nothing. */
export const getFactsScript = toScript(
  'get-facts',
  `${libLua}${bounds}
local names = {}
for index = first, #ARGV do names[#names + 1] = ARGV[index] end
-- What is put removes it there, so an earlier version wrote later what is still there.
local older = redis.call('EXISTS', memos) == 1 and fields(memos, names) or {}
local known = fields(facts, names)
local values = {}
for index, name in ipairs(names) do
  local record = known[name]
  values[index] = older[name] or false
  if not older[name] and record and not isExpired(record) then
    values[index] = string.sub(record, string.find(record, ' ', string.find(record, ' ', 1, true) + 1, true) + 1)
  end
end
return values
`,
);
