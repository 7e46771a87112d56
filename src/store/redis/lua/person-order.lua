--- @include "lib.lua"
-- The order of one person's envelopes across lanes, with the rules of src/store/person-order.ts.
--
-- An envelope waits for an earlier one of another lane under the name `OTHER:KEY`.
local after, awaited = constants.after, {}
for _, others in pairs(after) do
  for _, other in ipairs(others) do
    awaited[other] = true
  end
end

-- Returns the smallest number of a key in a sorted set of such members, or nil.
local function findFirst(name, key)
  local found = redis.call('ZRANGEBYLEX', name, '[' .. key .. ' ', '(' .. key .. '!', 'LIMIT', 0, 1)[1]
  return found and tonumber(string.match(found, ' (%d+)$'))
end

-- Notes an unsettled envelope.
local function addToOrder(lane, seq, keys)
  if not awaited[lane] then return end
  for _, key in ipairs(keys) do
    redis.call('ZADD', laneKey(lane, 'people'), 0, toMember(key, seq))
  end
end

-- Notes that an envelope is settled, and makes claimable what waited for it.
local function removeFromOrder(lane, seq, keys)
  if not awaited[lane] then return end
  local names = {}
  for index, key in ipairs(keys) do
    redis.call('ZREM', laneKey(lane, 'people'), toMember(key, seq))
    names[index] = lane .. ':' .. key
  end
  for other, others in pairs(after) do
    for _, each in ipairs(others) do
      if each == lane then releaseWaiters(other, { unpack(names) }) end
    end
  end
end

-- A claim of many profiles must not look up each key of a lane that is empty.
local isEmpty = {}
local function isLaneEmpty(lane)
  if isEmpty[lane] == nil then isEmpty[lane] = redis.call('EXISTS', laneKey(lane, 'people')) == 0 end
  return isEmpty[lane]
end

-- Returns the name of what the envelope must wait for, or nil. Not for scripts that change the order.
local function findEarlier(lane, seq, keys)
  for _, other in ipairs(after[lane] or {}) do
    for _, key in ipairs(isLaneEmpty(other) and {} or keys) do
      local first = findFirst(laneKey(other, 'people'), key)
      if first and first < tonumber(seq) then return other .. ':' .. key end
    end
  end
  return nil
end
