--- @include "lib.lua"
-- Adding and removing dead letters.

-- `json` is from dead-letter.ts.
local function addDeadLetter(lane, seq, json, payload)
  local order = redis.call('HINCRBY', storeKey('meta'), 'letter', 1)
  redis.call('HSET', storeKey('letters'), order, json .. '\n' .. payload)
  redis.call('ZADD', storeKey('letter-orders'), order, lane .. ' ' .. seq)
  incrementStat(lane, 'letters', 1)
end

-- Removes a dead letter for redrive or discard. Returns its decoded JSON and its payload, or nil if
-- another relay removed it in the meantime.
local function removeDeadLetter(order)
  local stored = redis.call('HGET', storeKey('letters'), order)
  if not stored then return nil end
  local newline = string.find(stored, '\n', 1, true)
  local deadLetter = cjson.decode(string.sub(stored, 1, newline - 1))
  redis.call('HDEL', storeKey('letters'), order)
  redis.call('ZREM', storeKey('letter-orders'), deadLetter.lane .. ' ' .. deadLetter.seq)
  incrementStat(deadLetter.lane, 'letters', -1)
  return deadLetter, string.sub(stored, newline + 1)
end

-- Drops the oldest dead letters above the bound. Returns them as they were stored.
local function dropExcessDeadLetters(maxCount)
  local dropped = {}
  while redis.call('ZCARD', storeKey('letter-orders')) > maxCount do
    local oldest = redis.call('ZPOPMIN', storeKey('letter-orders'))
    local laneAndSeq, order = oldest[1], oldest[2]
    dropped[#dropped + 1] = redis.call('HGET', storeKey('letters'), order)
    redis.call('HDEL', storeKey('letters'), order)
    incrementStat(string.match(laneAndSeq, '^%a+'), 'letters', -1)
  end
  return dropped
end
